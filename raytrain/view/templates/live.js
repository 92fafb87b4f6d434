"use strict";

/* Keeps a page that `raytrain view` serves up to date. It runs after page.js where there are charts. */
{
  const RESTING = 4; // times as long as a renewal took, the page waits before the next: the training needs the machine
  const label = document.getElementById("live");
  const hasCharts = document.getElementById("figures") !== null;
  let source = null;
  let busy = false;
  let due = false;

  /** Hear of changes while the page can be seen; a browser has few connections to one server. */
  function listen() {
    if (source || document.hidden) return;
    const query = new URLSearchParams(location.search);
    query.set("seen", document.body.dataset.version);
    source = new EventSource(`events?${query}`);
    source.addEventListener("open", () => { label.textContent = "This page updates by itself."; });
    source.addEventListener("change", renew);
    source.addEventListener("error", () => { label.textContent = "There is no connection to raytrain view."; });
  }

  async function renew() {
    due = busy;
    if (busy) return;
    busy = true;
    const began = performance.now();
    try {
      const answer = await fetch(`content${location.search}`, { cache: "no-store" });
      if (!answer.headers.get("Content-Type").startsWith("text/html")) throw new Error(await answer.text());
      take(new DOMParser().parseFromString(await answer.text(), "text/html"));
      label.textContent = `Updated at ${new Date().toLocaleTimeString()}.`;
    } catch (error) {
      label.textContent = `It could not be updated: ${error.message}`;
    }
    await new Promise((done) => { setTimeout(done, RESTING * (performance.now() - began)); });
    busy = false;
    if (due) renew();
  }

  /** Return what finds the element with the keyboard's focus in another version of the page: a selector, or "".
   *
   * Of elements that no attribute tells apart it is a selector with the place among those that it finds. */
  function place(element) {
    const quoted = (text) => `"${CSS.escape(text)}"`;
    if (element.matches("tr[data-label]")) return `.ranking tr[data-label=${quoted(element.dataset.label)}]`;
    if (element.matches("thead button")) return `.ranking thead th:nth-child(${element.closest("th").cellIndex + 1}) button`;
    const at = (selector) => [...document.querySelectorAll(selector)].indexOf(element);
    if (element.matches(".switch button")) {
      const chart = `#${CSS.escape(element.closest(".chart").id)}`;
      return { selector: `${chart} .switch button`, at: at(`${chart} .switch button`) };
    }
    for (const selector of ["summary", ".more"]) if (element.matches(selector)) return { selector, at: at(selector) };
    if (element.matches("input")) return `input[value=${quoted(element.value)}]`;
    if (element.matches("a[href]")) return `a[href=${quoted(element.getAttribute("href"))}]`;
    return element.matches(".scroll") ? `.scroll[aria-label=${quoted(element.getAttribute("aria-label"))}]` : "";
  }

  /** Show another version of the page, and leave what its reader has chosen as it is. */
  function take(fresh) {
    if (hasCharts !== (fresh.getElementById("figures") !== null)) { location.reload(); return; }
    const left = scrollX;
    const top = scrollY;
    const all = (selector, where = document) => [...where.querySelectorAll(selector)];
    const sideways = all(".scroll").map((box) => box.scrollLeft);
    const unfolded = all("details").map((one) => one.open);
    const whole = all("table.ranking").map((table) => table.dataset.whole);
    const ticked = new Set(all("input:checked").map((one) => one.value));
    const order = document.querySelector("table.ranking [aria-sort]");
    const held = place(document.activeElement);
    const charts = new Map(all(".chart").map((chart) => [chart.id, chart]));
    for (const part of ["header", "main"]) {
      const next = document.adoptNode(fresh.querySelector(`body > ${part}`));
      all(".chart", next).forEach((chart) => { if (charts.has(chart.id)) chart.replaceWith(charts.get(chart.id)); });
      document.querySelector(`body > ${part}`).replaceWith(next);
    }
    all("table.ranking").forEach((table, place) => { if (whole[place]) table.dataset.whole = whole[place]; });
    document.title = fresh.title;
    document.body.dataset.version = fresh.body.dataset.version;
    if (hasCharts) redraw(fresh, order);
    all(".scroll").forEach((box, place) => { box.scrollLeft = sideways[place] || 0; });
    all("details").forEach((one, place) => { one.open = unfolded[place] || false; });
    all("input").forEach((one) => { one.checked = ticked.has(one.value); });
    const { selector, at } = held.selector ? held : { selector: held, at: 0 };
    if (selector) document.querySelectorAll(selector)[at]?.focus({ preventScroll: true });
    scrollTo({ left, top, behavior: "instant" });
  }

  /** Draw the charts that were drawn with their new figures, and sort the table as it was sorted. */
  function redraw(fresh, order) {
    figures = JSON.parse(fresh.getElementById("figures").textContent);
    document.getElementById("curves")?.classList.toggle("drawn-curves", root.classList.contains("scripts"));
    for (const plot of drawn.keys()) if (!plot.isConnected) drawn.delete(plot);
    for (const chart of document.querySelectorAll(".chart")) {
      if (drawn.has(chart.querySelector(".plot"))) show(chart);
      else near.observe(chart);
    }
    document.querySelectorAll("table.ranking").forEach(makeSortable);
    if (marked) mark(marked);
    const name = order?.textContent.trim();
    const heading = [...document.querySelectorAll("table.ranking thead th")].find((one) => one.textContent.trim() === name);
    if (!heading) return;
    const button = heading.querySelector("button");
    button.click();
    if (order.getAttribute("aria-sort") === "descending") button.click();
  }

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) { listen(); return; }
    source?.close();
    source = null;
  });
  listen();
}
