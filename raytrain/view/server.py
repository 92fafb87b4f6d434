"""The server behind `raytrain view`: read-only, on this machine's own address, for those who know its token.

Every path begins with the token, which is drawn anew for each server. So a page of another site, whose scripts may ask
any address, cannot name one that answers; and since only this machine's own names are taken for the host, no name that
such a site lets lead here (DNS rebinding) is answered either.
"""

import asyncio
import hmac
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from raytrain.errors import PreflightError, RaytrainError
from raytrain.storage.folder import Folder
from raytrain.view.pages import Page, Summary, comparison_page, list_page, report_page, unlisted_page
from raytrain.view.watch import Runs, changes, version_of

HOST = "127.0.0.1"
HOSTS = frozenset({HOST, "localhost", "::1"})
"""Names under which a browser on this machine, or behind `ssh -L`, reaches the server; the port may be another one."""
EVERY_S = 1.0
"""Least seconds between two looks at the run folders."""
SILENCE_S = 15.0
"""Seconds after which a stream says that it is still there, or finds that its page is not."""
KEPT = 8
"""Most pages that are kept, each for as long as nothing changes."""
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'; base-uri 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Headers of every answer; what a page may run and load says its own policy, which is in the page."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class _View:
    """A page before it is made: what it is of, and how it is made."""

    key: tuple[str, ...]
    folders: Callable[[], Mapping[str, Folder]]
    make: Callable[[str], Page]


class _Site:
    """The pages of some runs. All that reads and draws is done by one thread, one thing after another."""

    def __init__(self, runs: Runs, *, every_s: float) -> None:
        self._runs = runs
        self._every_s = every_s
        self._thread = ThreadPoolExecutor(1, "pages")
        self._pages: dict[tuple[str, ...], tuple[str, Page]] = {}
        self._summaries: dict[str, tuple[str, Summary]] = {}
        self._closing = asyncio.Event()

    async def page(self, request: web.Request) -> web.StreamResponse:
        """Answer with a whole page."""
        page = await self._page(await self._view(request))
        return web.Response(text=page.html, content_type="text/html", status=page.status)

    async def content(self, request: web.Request) -> web.StreamResponse:
        """Answer with a page for one that is open already."""
        page = await self._page(await self._view(request))
        return web.Response(text=page.content, content_type="text/html", status=page.status)

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Answer with server-sent events: `change`, whenever there is another version than the one that was seen."""
        view = await self._view(request)
        seen = request.headers.get("Last-Event-ID") or request.query.get("seen", "")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        sending = asyncio.ensure_future(self._send(response, view, seen))
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait({sending, closing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sending.cancel()
            closing.cancel()
            await asyncio.gather(sending, closing, return_exceptions=True)
        return response

    async def close(self, _app: web.Application) -> None:
        """End the streams; a page that is being made is not waited for."""
        self._closing.set()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _send(self, response: web.StreamResponse, view: _View, seen: str) -> None:
        look = partial(self._in_thread, lambda: version_of(view.folders()))
        async for version in changes(look, seen=seen, every_s=self._every_s, silence_s=SILENCE_S):
            line = f"id: {version}\nevent: change\ndata: {version}\n\n" if version else ": nothing new\n\n"
            await response.write(line.encode())

    async def _view(self, request: web.Request) -> _View:
        """Return what a request asks for, or raise HTTPNotFound; while runs cannot be listed, why that is so."""
        names = [request.match_info["run"]] if "run" in request.match_info else request.query.getall("run", [])
        if request.path.split("/")[2] not in {"run", "compare"}:
            return _View((), self._runs.folders, self._list)
        root = "../../" if "run" in request.match_info else "../"
        try:
            folders = await self._in_thread(self._runs.folders)
        except (RaytrainError, OSError) as error:
            reason = str(error)
            return _View(("unlisted", *names), lambda: self._there(names), lambda _: unlisted_page(reason, root=root))
        if missing := [name for name in names if name not in folders]:
            raise web.HTTPNotFound(text=f"There is no run {missing[0]!r} here.")
        shown = {name: folders[name] for name in names}
        if "run" in request.match_info:
            return _View(("run", *names), lambda: shown, lambda version: report_page(shown[names[0]], version=version))
        if len(shown) != 2:
            raise web.HTTPNotFound(text="Two runs can be compared; go back and tick two.")
        return _View(("compare", *names), lambda: shown, lambda version: comparison_page(shown, version=version))

    def _list(self, version: str) -> Page:
        try:
            folders = self._runs.folders()
        except (RaytrainError, OSError) as error:
            return unlisted_page(str(error), root="")
        return list_page(folders, version=version, known=self._summaries)

    def _there(self, names: Sequence[str]) -> Mapping[str, Folder]:
        return {name: folder for name, folder in self._runs.folders().items() if name in names}

    async def _page(self, view: _View) -> Page:
        return await self._in_thread(lambda: self._made(view))

    def _made(self, view: _View) -> Page:
        """Return a page as it was made before, unless something has changed."""
        try:
            version = version_of(view.folders())  # first: what is written meanwhile is announced as a change
        except (RaytrainError, OSError):
            version = ""
        before = self._pages.pop(view.key, None)
        page = before[1] if before and version and before[0] == version else view.make(version)
        if page.status == HTTPStatus.OK:  # what could not be read a moment ago is tried again
            self._pages[view.key] = version, page
        while len(self._pages) > KEPT:
            del self._pages[next(iter(self._pages))]
        return page

    async def _in_thread(self, act: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, act)


def application(runs: Runs, *, token: str, every_s: float = EVERY_S) -> web.Application:
    """Return the server's application; it has to be made where an event loop runs.

    Args:
        runs: The runs to show.
        token: First part of every path.
        every_s: Least seconds between two looks at the run folders.
    """
    site = _Site(runs, every_s=every_s)
    app = web.Application(middlewares=[_guard(token)])
    for path in ("", "run/{run}/", "compare/"):
        app.router.add_get(f"/{{token}}/{path}", site.page)
        app.router.add_get(f"/{{token}}/{path}content", site.content)
        app.router.add_get(f"/{{token}}/{path}events", site.events, allow_head=False)
    app.on_response_prepare.append(_add_headers)
    app.on_shutdown.append(site.close)
    return app


def _guard(token: str) -> Any:
    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not _is_own(request.headers.get("Host", "")):
            raise web.HTTPForbidden(text="This server answers under the names of its own machine only.")
        if not hmac.compare_digest(request.path.split("/")[1].encode(), token.encode()):
            raise web.HTTPForbidden(text="The address lacks the token. Use the whole address that raytrain view shows.")
        return await handler(request)

    return guard


def _is_own(host: str) -> bool:
    try:
        return urlsplit(f"//{host}").hostname in HOSTS
    except ValueError:
        return False


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)


async def serve(runs: Runs, *, port: int, ready: Callable[[str], object]) -> None:
    """Serve until the task is cancelled.

    Args:
        runs: The runs to show.
        port: Port to listen on; 0 for any that is free.
        ready: Function that is called with the address, token included, once the server listens.

    Raises:
        PreflightError: The port cannot be listened on.
    """
    token = secrets.token_urlsafe(24)
    runner = web.AppRunner(application(runs, token=token), access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, HOST, port).start()
        except (OSError, OverflowError) as error:
            raise PreflightError(
                f"port {port} of {HOST} cannot be listened on ({error}); choose another --port, or leave it out"
            ) from error
        ready(f"http://{HOST}:{runner.addresses[0][1]}/{token}/")
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()
