"""Hosts of their own on one machine, for a cluster that is started over ssh: `python hosts.py up|down FOLDER`.

Each host has its own network, processes, mounts, host name and shared memory, its own /root and /tmp, and sshd as its
first process, so that whatever is started on it ends with it. They hang on a bridge in a network without a way out:
nothing that they send leaves this machine. Needs root, iproute2, util-linux, openssh-server and rsync.
"""

import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

NETWORK = "10.99.3"
SWITCH = "raytrain-switch"
"""Network namespace that the bridge is in; commands run there reach the hosts."""
SSHD = "/usr/sbin/sshd"

SSHD_CONFIG = """\
ListenAddress {address}
HostKey {state}/hostkey
PidFile none
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM no
StrictModes no
AuthorizedKeysFile /root/.ssh/authorized_keys
SetEnv PATH={bin}:/usr/sbin:/usr/bin:/sbin:/bin
"""

# what lies under /root or /tmp and is needed inside is mounted into the host's own ones first
INIT = """\
set -e
hostname {name}
for path in {kept}; do
  case $path in
    /root/*|/tmp/*) mkdir -p {root}$path; mount --bind $path {root}$path ;;
  esac
done
mount -t tmpfs -o size=512m tmpfs /dev/shm
mount --rbind {root}/root /root
mount --rbind {root}/tmp /tmp
mkdir -p /run/sshd
exec {sshd} -D -e -f {root}/sshd_config
"""


PROBE = "ip link add bridge1 type bridge && ip link add port1 type veth peer name port2 && mount -t tmpfs none /mnt"


def can_be_made() -> bool:
    """Return whether this machine lets us make such hosts: inside of many containers even root may not."""
    probe = ["unshare", "--net", "--mount", "--pid", "--fork", "sh", "-c", PROBE]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


@dataclass(frozen=True)
class Hosts:
    """Some hosts, their files in `state`.

    Attributes:
        state: Folder for keys, configurations and the hosts' own /root and /tmp; a short path, for Ray's sockets.
        bin: Folder of programs that the hosts find first: a virtual environment's.
        kept: Folders of this machine that the hosts see too, at the same place.
        count: How many.
    """

    state: Path
    bin: Path
    kept: tuple[Path, ...]
    count: int = 3
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def key(self) -> Path:
        """The private key that opens them."""
        return self.state / "key"

    def address(self, host: int) -> str:
        """Return the IPv4 address of a host, counted from 0."""
        return f"{NETWORK}.{10 + host}"

    def command(self, *words: str) -> list[str]:
        """Return a command as it runs in the network of the hosts."""
        return ["ip", "netns", "exec", SWITCH, *words]

    def up(self) -> None:
        """Start the hosts, and wait until they take ssh."""
        self.state.mkdir(parents=True, exist_ok=True)
        for name in ("key", "hostkey"):
            if not (self.state / name).exists():
                _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.state / name)
        _run("ip", "netns", "add", SWITCH)
        _run("ip", "-n", SWITCH, "link", "set", "lo", "up")
        _run("ip", "-n", SWITCH, "link", "add", "bridge", "type", "bridge")
        _run("ip", "-n", SWITCH, "address", "add", f"{NETWORK}.1/24", "dev", "bridge")
        _run("ip", "-n", SWITCH, "link", "set", "bridge", "up")
        for host in range(self.count):
            self._start(host)
        deadline = time.monotonic() + 60
        for host in range(self.count):
            while self.ssh(host, "true").returncode:
                assert time.monotonic() < deadline, (self.state / f"h{host}" / "log").read_text()
                time.sleep(0.2)

    def ssh(self, host: int, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command on a host."""
        options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "ConnectTimeout=5")
        words = ["ssh", "-i", str(self.key), *(word for one in options for word in ("-o", one))]
        return subprocess.run(
            self.command(*words, f"root@{self.address(host)}", command), capture_output=True, text=True, check=False
        )

    def cut_off(self, host: int) -> None:
        """Pull the network cable of a host."""
        _run("ip", "-n", SWITCH, "link", "set", f"port{host}", "down")

    def processes(self, host: int) -> list[str]:
        """Return the command lines of the processes on a host other than sshd and what asks."""
        lines = self.ssh(host, "ps -eo pid=,args=").stdout.splitlines()
        return [line for line in lines if "sshd" not in line and "ps -eo" not in line]

    def down(self) -> None:
        """End the hosts and all that runs on them."""
        for path in self.state.glob("h*/pid"):
            subprocess.run(["kill", "-KILL", path.read_text()], stderr=subprocess.DEVNULL, check=False)
            path.unlink()
        for process in self.started:
            process.wait()
        time.sleep(0.5)
        for name in [*(f"raytrain-h{host}" for host in range(self.count)), SWITCH]:
            subprocess.run(["ip", "netns", "delete", name], stderr=subprocess.DEVNULL, check=False)

    def _start(self, host: int) -> None:
        name, namespace, root = f"h{host}", f"raytrain-h{host}", self.state / f"h{host}"
        _run("ip", "netns", "add", namespace)
        _run("ip", "-n", namespace, "link", "set", "lo", "up")
        _run(
            "ip", "-n", SWITCH, "link", "add", f"port{host}", "type", "veth", "peer", "name", "eth0", "netns", namespace
        )
        _run("ip", "-n", SWITCH, "link", "set", f"port{host}", "master", "bridge")
        _run("ip", "-n", SWITCH, "link", "set", f"port{host}", "up")
        _run("ip", "-n", namespace, "address", "add", f"{self.address(host)}/24", "dev", "eth0")
        _run("ip", "-n", namespace, "link", "set", "eth0", "up")
        shutil.rmtree(root, ignore_errors=True)
        (root / "root" / ".ssh").mkdir(parents=True, mode=0o700)
        (root / "root").chmod(0o700)
        (root / "tmp").mkdir()
        (root / "tmp").chmod(0o1777)
        (root / "root" / ".ssh" / "authorized_keys").write_text(self.key.with_suffix(".pub").read_text())
        # `ray up` runs login shells, which set PATH anew
        (root / "root" / ".bashrc").write_text(f"export PATH={self.bin}:$PATH\n")
        (root / "root" / ".profile").write_text(". ~/.bashrc\n")
        (root / "sshd_config").write_text(
            SSHD_CONFIG.format(address=self.address(host), state=self.state, bin=self.bin)
        )
        kept = " ".join(map(str, (*self.kept, self.state)))
        (root / "init").write_text(INIT.format(name=name, kept=kept, root=root, sshd=SSHD))
        with (root / "log").open("w") as log:
            process = subprocess.Popen(
                [
                    *("ip", "netns", "exec", namespace, "unshare", "--pid", "--fork", "--kill-child", "--mount"),
                    *("--mount-proc", "--uts", "--ipc", "bash", root / "init"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        (root / "pid").write_text(str(process.pid))
        self.started.append(process)


def _run(*command: object) -> None:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.stderr}"


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    python = Path(sys.executable)
    hosts = Hosts(Path(sys.argv[2]), python.parent, (Path(sys.prefix), Path(sys.base_prefix), Path.cwd()))
    hosts.up() if sys.argv[1] == "up" else hosts.down()
