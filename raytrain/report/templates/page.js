"use strict";

const root = document.documentElement;
let figures = JSON.parse(document.getElementById("figures").textContent); // a served page reads them again
const dark = matchMedia("(prefers-color-scheme: dark)");
const drawn = new Map(); // the element of a plot -> its figure

/** Unpack and run Plotly, which the page carries compressed. */
async function loadPlotly() {
  const packed = atob(document.getElementById("plotly").textContent);
  const bytes = new Uint8Array(packed.length);
  for (let at = 0; at < packed.length; at++) bytes[at] = packed.charCodeAt(at);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
}

const NARROW = 700; // pixels: a legend beside the curves would leave them no room
const NAMED = 12; // most names below a narrow chart

/** The figure's layout in the colours of the page, with its legend where there is room for it. */
function fitted(plot, { data, layout }) {
  const names = data.filter((trace) => trace.name && trace.showlegend !== false).length;
  const below = plot.clientWidth < NARROW;
  const legend = below ? { orientation: "h", yref: "container", y: 0, yanchor: "bottom" } : { orientation: "v" };
  const height = layout.height || (below ? (names <= NAMED ? 330 + 20 * names : 380) : Math.min(Math.max(380, 120 + 30 * names), 660));
  const width = root.classList.contains("printing") ? { width: plot.clientWidth } : {};
  // zoom and hidden curves stay when the same figure is drawn again
  const kept = { uirevision: (layout.xaxis?.title?.text || "") + (layout.yaxis?.title?.text || "") };
  return { showlegend: names > 1 && !(below && names > NAMED), legend, ...inColours(layout), ...width, ...kept, height };
}

/** The traces, with text on bars that can be read: pale bars show the page behind them. */
function readable(data) {
  const ink = getComputedStyle(root).getPropertyValue("--ink").trim();
  return data.map((trace) => {
    if (trace.type !== "bar") return trace;
    return { ...trace, insidetextfont: { color: trace.marker.opacity.map((opacity) => (opacity < 1 ? ink : "#14171b")) } };
  });
}

function inColours(layout) {
  const style = getComputedStyle(root);
  const colour = (name) => style.getPropertyValue(name).trim();
  const axis = { gridcolor: colour("--rule"), linecolor: colour("--rule"), zerolinecolor: colour("--rule") };
  return {
    ...layout,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: style.fontFamily, size: 12, color: colour("--ink") },
    hoverlabel: { font: { family: style.fontFamily } },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--soft"), activecolor: colour("--ink") },
    xaxis: { ...axis, ...layout.xaxis },
    yaxis: { ...axis, ...layout.yaxis },
    shapes: (layout.shapes || []).map((shape) => ({ ...shape, line: { ...shape.line, color: colour("--ink") } })),
  };
}

let marked = ""; // label of the configuration whose row was clicked

/** The traces, those of the marked configuration brought out. */
function emphasised(data) {
  if (!marked || !data.some((trace) => trace.meta === marked)) return data;
  return data.map((trace) => {
    if (trace.meta === undefined) return trace;
    const own = trace.meta === marked;
    return { ...trace, opacity: own ? 1 : 0.12, line: { ...trace.line, width: own ? 3.5 : trace.line.width } };
  });
}

/** Bring out the curves and the line of a configuration everywhere; of none, with "". */
function mark(label) {
  marked = label;
  for (const one of document.querySelectorAll(".ranking tr[data-label], .parallel g")) {
    const own = label !== "" && one.dataset.label === label;
    one.classList.toggle("marked", own);
    if (own) one.setAttribute("aria-current", "true");
    else one.removeAttribute("aria-current");
  }
  document.querySelector(".parallel")?.classList.toggle("marking", label !== "");
  drawn.forEach((figure, plot) => draw(plot, figure));
}

document.addEventListener("click", (event) => {
  const row = event.target.closest(".ranking tr[data-label], .parallel g");
  if (row && String(getSelection()) === "") mark(row.dataset.label === marked ? "" : row.dataset.label);
});

/** Let the keyboard reach the rows: Tab the first or the last one chosen, the arrows its neighbours. */
function reachable(table) {
  const rows = [...table.querySelectorAll("tr[data-label]")];
  rows.forEach((row) => { row.tabIndex = -1; });
  const first = rows.find((row) => row.dataset.label === marked) || rows[0];
  if (first) first.tabIndex = 0;
}

document.addEventListener("keydown", (event) => {
  const row = event.target;
  if (!row.matches?.(".ranking tr[data-label]")) return;
  const rows = [...row.parentNode.querySelectorAll("tr[data-label]")].filter((one) => !one.hidden);
  const place = rows.indexOf(row);
  const ways = { ArrowDown: place + 1, ArrowUp: place - 1, Home: 0, End: rows.length - 1 };
  if (event.key === "Enter" || event.key === " ") mark(row.dataset.label === marked ? "" : row.dataset.label);
  else if (event.key in ways) {
    const next = rows[ways[event.key]];
    if (next) { row.tabIndex = -1; next.tabIndex = 0; next.focus(); }
  } else return;
  event.preventDefault();
});

const buttons = [["zoom2d", "pan2d", "resetScale2d", "toImage"]];

/** Buttons of Plotly's own, where there is a pointer to hover with and room beside the bars of a timeline. */
function options(plot, { layout }) {
  const displayModeBar = plot.clientWidth >= NARROW && !layout.height ? "hover" : false;
  return { responsive: true, displaylogo: false, modeBarButtons: buttons, displayModeBar };
}

function draw(plot, figure) {
  drawn.set(plot, figure);
  return Plotly.react(plot, readable(emphasised(figure.data)), fitted(plot, figure), options(plot, figure));
}

/** Draw a chart, with a button for each of its variants; of one that is drawn again, the same variant. */
function show(chart) {
  const variants = figures[chart.dataset.chart];
  const titles = Object.keys(variants);
  const plot = chart.querySelector(".plot");
  const group = chart.querySelector(".switch");
  const before = group.querySelector('[aria-pressed="true"]')?.textContent;
  const shown = titles.includes(before) ? before : titles[0];
  const buttons = titles.length < 2 ? [] : titles.map((title) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = title;
    button.setAttribute("aria-pressed", String(title === shown));
    button.addEventListener("click", () => {
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
      draw(plot, figures[chart.dataset.chart][title]);
    });
    return button;
  });
  group.replaceChildren(...buttons);
  draw(plot, variants[shown]);
}

/** Draw a chart once, when it comes near. */
function showOnce(chart) {
  if (!drawn.has(chart.querySelector(".plot"))) show(chart);
}

const PAGE = 200; // rows of a table that are shown at first

/** Show the first rows of a long table, and a button for the others. */
function page(table) {
  const rows = [...table.tBodies[0].rows];
  if (rows.length <= PAGE || table.dataset.whole) return;
  rows.forEach((row, place) => { row.hidden = place >= PAGE; });
  if (table.parentNode.nextElementSibling?.matches(".more")) return;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "more";
  button.textContent = `Show all ${rows.length.toLocaleString("en")} rows`;
  button.addEventListener("click", () => {
    table.dataset.whole = "yes";
    for (const row of table.tBodies[0].rows) row.hidden = false;
    button.remove();
  });
  table.parentNode.after(button);
}

/** Let a click on a heading sort the table by it; rows without a value stay below. */
function makeSortable(table) {
  const body = table.tBodies[0];
  const listed = [...body.rows];
  page(table);
  reachable(table);
  const number = (text) => (/^-?\d/.test(text) ? parseFloat(text) : NaN);
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const down = heading.getAttribute("aria-sort") === "ascending";
      for (const other of heading.parentNode.cells) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      const text = (row) => row.cells[column].textContent.trim();
      const unknown = (row) => text(row) === "–" || text(row) === "";
      const numeric = listed.every((row) => unknown(row) || !Number.isNaN(number(text(row))));
      const compare = (a, b) => (numeric ? number(text(a)) - number(text(b)) : text(a).localeCompare(text(b)));
      const known = listed.filter((row) => !unknown(row)).sort((a, b) => (down ? compare(b, a) : compare(a, b)));
      body.append(...known, ...listed.filter(unknown));
      page(table);
      reachable(table);
    });
  });
}

document.querySelectorAll("table.ranking").forEach(makeSortable);
root.classList.remove("paging"); // what it hid has the attribute by now

const near = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) showOnce(entry.target);
}, { rootMargin: "600px" });

loadPlotly().then(() => {
  root.classList.add("scripts");
  document.getElementById("curves")?.classList.add("drawn-curves");
  const charts = () => document.querySelectorAll(".chart");
  charts().forEach((chart) => near.observe(chart));
  const again = () => drawn.forEach((figure, plot) => draw(plot, figure));
  dark.addEventListener("change", again);
  addEventListener("beforeprint", () => { root.classList.add("printing"); again(); charts().forEach(showOnce); });
  addEventListener("afterprint", () => { root.classList.remove("printing"); again(); });
}).catch((error) => console.warn("the interactive charts cannot be drawn:", error)); // the static ones stay
