(() => {
  "use strict";
  // Tables: a button in each heading sorts by that column.
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const body = table.tBodies[0];
        const down = head.getAttribute("aria-sort") === "descending";
        heads.forEach((h) => h.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", down ? "ascending" : "descending");
        const key = (row) => {
          const cell = row.cells[column];
          return cell.dataset.v !== undefined ? Number(cell.dataset.v) : cell.textContent;
        };
        const order = (a, b) => (typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true }));
        [...body.rows].sort((a, b) => (down ? 1 : -1) * order(key(a), key(b))).forEach((row) => body.append(row));
      });
    });
  }

  // Charts: "Zoom" puts uPlot over the drawing, from the same points.
  const dashes = [[], [6, 3], [2, 2.5], [9, 3, 2, 3], [12, 4], [4, 2, 1, 2], [1, 3], [14, 3, 3, 3, 3, 3]];
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const dark = matchMedia("(prefers-color-scheme: dark)");

  const build = (figure, data, box) => {
    const joined = uPlot.join(data.series.map((s) => [s.x, data.percent ? s.y.map((v) => v * 100) : s.y]));
    const axis = { stroke: css("--soft"), grid: { stroke: css("--rule"), width: 1 }, ticks: { stroke: css("--rule"), width: 1 } };
    const value = (u, v) => (v == null ? "-" : Number(v.toPrecision(4)) + (data.percent ? " %" : ""));
    const series = data.series.map((s) => ({ label: s.name, stroke: css("--c" + s.style), width: 1.8, dash: dashes[s.style],
      spanGaps: true, value, points: { show: s.x.length <= 60 } }));
    return new uPlot({ width: box.clientWidth, height: 270, scales: { x: { time: false }, y: data.log ? { distr: 3 } : {} },
      cursor: { drag: { x: true, y: false } }, axes: [axis, { ...axis, size: 56 }],
      series: [{ label: data.x, value: (u, v) => (v == null ? "-" : Number(v.toPrecision(5))) }, ...series] }, joined, box);
  };

  for (const figure of document.querySelectorAll("figure.chart")) {
    const block = document.getElementById(figure.id + "-z");
    const plot = figure.querySelector(".plot");
    if (!block || !plot) continue;
    const data = JSON.parse(block.textContent);
    if (!data.series.some((s) => s.x.length > 1)) continue;
    const title = figure.querySelector("h3").textContent;
    const tool = (text, label) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "tool";
      button.textContent = text;
      button.setAttribute("aria-label", label + ": " + title);
      return button;
    };
    const bar = document.createElement("div");
    bar.className = "tools";
    const open = tool("Zoom", "Zoom");
    const closer = tool("Zoom in", "Zoom in");
    const further = tool("Zoom out", "Zoom out");
    const back = tool("Whole run", "Whole run");
    open.setAttribute("aria-expanded", "false");
    bar.append(open);
    figure.querySelector("figcaption").prepend(bar);
    let chart = null;
    let box = null;
    const hide = [plot, figure.querySelector(".legend"), figure.querySelector(".xtitle")].filter(Boolean);
    const close = () => {
      chart.destroy();
      box.remove();
      chart = null;
      [closer, further, back].forEach((b) => b.remove());
      hide.forEach((e) => (e.hidden = false));
      open.textContent = "Zoom";
      open.setAttribute("aria-expanded", "false");
    };
    const show = () => {
      box = document.createElement("div");
      box.className = "zoom";
      hide.forEach((e) => (e.hidden = true));
      plot.before(box);
      chart = build(figure, data, box);
      open.before(closer, further, back);
      open.textContent = "Close";
      open.setAttribute("aria-expanded", "true");
    };
    const scale = (factor) => {
      const { min, max } = chart.scales.x;
      const middle = (min + max) / 2;
      const half = ((max - min) / 2) * factor;
      const first = chart.data[0][0];
      const last = chart.data[0][chart.data[0].length - 1];
      chart.setScale("x", { min: Math.max(first, middle - half), max: Math.min(last, middle + half) });
    };
    open.addEventListener("click", () => (chart ? close() : show()));
    closer.addEventListener("click", () => scale(0.5));
    further.addEventListener("click", () => scale(2));
    back.addEventListener("click", () => scale(1e9));
    addEventListener("resize", () => chart && chart.setSize({ width: box.clientWidth, height: 270 }));
    dark.addEventListener("change", () => { if (chart) { close(); show(); } });
  }
})();
