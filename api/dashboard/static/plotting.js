// Charts by plotly.js, which is loaded when the first chart is drawn. Zoom and hidden traces survive a redraw.

const dark = window.matchMedia("(prefers-color-scheme: dark)");
let library = null;

// Ends of a scale that reads from dark to bright with depth, kept apart from either ground.
const DEPTH = { light: [[59, 28, 120], [32, 122, 140], [196, 116, 0]], dark: [[176, 140, 255], [80, 200, 205], [255, 196, 90]] };
const SPLITS = { light: { train: "#2b50c8", validation: "#b3470e", test: "#0f6b3a" },
  dark: { train: "#9db5ff", validation: "#ffb07c", test: "#7ee2a8" } };

/** Loads plotly.js once. */
export function load(url) {
  library ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = url;
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => { library = null; reject(new Error("plotly.js could not be loaded")); };
    document.head.append(script);
  });
  return library;
}

export function splitColor(split) {
  return SPLITS[theme()][split] ?? SPLITS[theme()].train;
}

/** The colour of a layer by its place among all layers. */
export function depthColor(index, count) {
  const stops = DEPTH[theme()];
  const at = count < 2 ? 0 : (index / (count - 1)) * (stops.length - 1);
  const low = Math.min(Math.floor(at), stops.length - 2);
  const mixed = stops[low].map((from, channel) => Math.round(from + (stops[low + 1][channel] - from) * (at - low)));
  return `rgb(${mixed.join(",")})`;
}

/** Draws traces [{name, x, y, color, dash, markers, plain, spread}] into an element, or draws them anew. */
export async function draw(plotly, target, { traces, xTitle, yTitle = "", logarithmic = false, yRange, gaps = [], scattered = false }) {
  const yScale = logarithmic ? logarithmicScale(traces) : { type: "linear", range: yRange };
  const made = layout({ xTitle, yTitle, yScale, gaps, crowded: traces.length > CROWD });
  if (scattered) Object.assign(made, { hovermode: "closest", xaxis: { ...made.xaxis, type: "log" }, uirevision: xTitle });
  await plotly.react(target, traces.map(plotted), made, CONFIG);
}

const TWO_DECADES = 100;
const CROWD = 24; // lines beyond which a legend would leave no room for them
const CONFIG = {
  displaylogo: false,
  responsive: true,
  modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
  toImageButtonOptions: { format: "png", scale: 2 },
};

function plotted({ name, x, y, color, dash, markers, plain, spread, legendgroup, showlegend = true }) {
  const few = x.length < 40;
  return {
    type: "scatter", mode: (markers || few) && !plain ? "lines+markers" : "lines", name, x, y, connectgaps: false, legendgroup, showlegend,
    line: { color, width: 1.7, dash }, marker: { size: spread ? 9 : few ? 5 : 4, color },
    ...(spread ? { error_y: { type: "data", symmetric: false, array: spread.above, arrayminus: spread.below, color, thickness: 1.2, width: 3 } } : {}),
    hovertemplate: "%{y:.4g}<extra>%{fullData.name}</extra>",
  };
}

/** Ticks at whole decades where there are enough of them to be read by, else also at 2 and 5. */
function logarithmicScale(traces) {
  const spread = extent(traces.flatMap(({ y }) => y));
  if (spread > TWO_DECADES) return { type: "log", dtick: 1, minor: { ticks: "outside", ticklen: 3, showgrid: false } };
  return { type: "log", ...(spread > 5 ? { dtick: "D2" } : {}) };
}

/** The largest of the positive values over the smallest. */
export function extent(values) {
  const positive = values.filter((value) => value > 0);
  return positive.length ? Math.max(...positive) / Math.min(...positive) : 0;
}

function layout({ xTitle, yTitle, yScale, gaps, crowded }) {
  const style = window.getComputedStyle(document.documentElement);
  const color = (name) => style.getPropertyValue(name).trim();
  const axis = { gridcolor: color("--line"), linecolor: color("--line"), zeroline: false, automargin: true, exponentformat: "power" };
  return {
    uirevision: "kept", paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: 12, color: color("--quiet") },
    margin: { l: 48, r: 12, t: 12, b: 36 },
    hovermode: crowded ? "closest" : "x unified", hoverlabel: { bgcolor: color("--surface"), bordercolor: color("--line"), font: { color: color("--text") } },
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 }, showlegend: !crowded,
    modebar: { bgcolor: "rgba(0,0,0,0)", color: color("--quiet"), activecolor: color("--accent") },
    xaxis: { ...axis, title: { text: xTitle, standoff: 8 } },
    yaxis: { ...axis, title: { text: yTitle, standoff: 8 }, ...yScale },
    shapes: gaps.map((x) => ({ type: "line", x0: x, x1: x, yref: "paper", y0: 0, y1: 1, line: { color: color("--red"), width: 1, dash: "dot" } })),
  };
}

function theme() {
  return dark.matches ? "dark" : "light";
}

/** Calls `redraw` when the reader's colour scheme changes. */
export function onThemeChange(redraw) {
  dark.addEventListener("change", redraw);
}
