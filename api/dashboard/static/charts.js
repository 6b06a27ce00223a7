// The charts of a job: which series go into which chart.

import { read } from "./api_client.js";
import { element, setText } from "./elements.js";
import { words } from "./formats.js";
import { depthColor, draw, extent, load, onThemeChange, splitColor } from "./plotting.js";

const AXES = { step: "step", wall_s: "seconds of training", samples: "samples seen" };
const METRICS = ["accuracy", "mse"];
const ALWAYS = ["loss", ...METRICS, "grad_norm", "alignment_cosine", "alignment_expected"];
const MAX_POINTS = 400;
const MAX_GAPS = 40;
const LOGARITHMIC_FROM = 100;

/** Keeps the charts of one job. */
export class Charts {
  #job;
  #plotly;
  #series = [];
  #axis = document.getElementById("x-axis");
  #logLoss = document.getElementById("log-loss");
  #other = document.getElementById("other-select");

  constructor(jobId, plotlyUrl) {
    this.#job = jobId;
    this.#plotly = plotlyUrl;
    const again = () => this.refresh().catch(() => {}); // the page itself says when the service is away
    this.#axis.addEventListener("change", again);
    this.#other.addEventListener("change", again);
    this.#logLoss.addEventListener("change", () => this.#drawAll());
    onThemeChange(() => this.#drawAll());
  }

  /** Reads the points anew and draws them. */
  async refresh() {
    await this.#refreshChoices();
    const names = [...ALWAYS, ...(this.#other.value ? [this.#other.value] : [])];
    const query = new URLSearchParams({ names: [...new Set(names)].join(","), max_points: MAX_POINTS, x: this.#axis.value });
    const { data } = await read(`/v1/jobs/${this.#job}/series/query?${query}`);
    this.#series = data.filter(({ parameter, x }) => parameter === null && x.length > 0);
    await this.#drawAll();
  }

  /** Offers all series of the catalogue in the last chart. */
  async #refreshChoices() {
    const { data } = await read(`/v1/jobs/${this.#job}/series`);
    const offered = [...new Set(data.map(({ name }) => name))].filter((name) => !ALWAYS.includes(name));
    const known = new Set(Array.from(this.#other.options, ({ value }) => value));
    for (const name of offered) if (!known.has(name)) this.#other.append(element("option", { value: name }, words(name)));
    if (this.#other.options.length && !known.size) this.#other.value = offered.includes("update_ratio") ? "update_ratio" : offered[0];
    figureOf("other").hidden = offered.length === 0;
  }

  async #drawAll() {
    document.getElementById("no-points").hidden = this.#series.length > 0;
    if (this.#series.length === 0) return;
    const plotly = await load(this.#plotly);
    const charts = this.#contents();
    // All are given their places before the first is drawn: a chart takes the size that it then has.
    for (const [name, { traces }] of charts) if (name !== "other") figureOf(name).hidden = traces.length === 0;
    for (const [name, content] of charts) if (content.traces.length) await this.#show(plotly, name, content);
  }

  /** What each chart shows, from the points read last. */
  #contents() {
    const metric = METRICS.find((name) => this.#whole(name).length > 0);
    if (metric) setText(figureOf("metric").querySelector("[data-title]"), metric === "mse" ? "Mean squared error" : "Accuracy");
    const expected = this.#byLayer("alignment_expected", { dash: "dot", plain: true, showlegend: false });
    const cosines = [...this.#byLayer("alignment_cosine"), ...expected];
    return [
      ["loss", { traces: this.#bySplit("loss"), logarithmic: this.#logLoss.checked }],
      ["metric", { traces: metric ? this.#bySplit(metric) : [] }],
      ["gradient", { traces: this.#byLayer("grad_norm"), logarithmic: true }],
      ["alignment", { traces: cosines, yRange: cosineRange(cosines) }],
      ["other", this.#chosen(this.#other.value)],
    ];
  }

  #chosen(name) {
    const layers = this.#byLayer(name);
    const traces = layers.length ? layers : this.#bySplit(name);
    const values = traces.flatMap(({ y }) => y);
    const logarithmic = extent(values) > LOGARITHMIC_FROM && values.every((value) => value === null || value > 0);
    return { traces, logarithmic, yTitle: this.#series.find((found) => found.name === name)?.unit };
  }

  async #show(plotly, name, content) {
    const figure = figureOf(name);
    const lost = content.traces.flatMap(({ x, y }) => x.filter((_, index) => y[index] === null && y[index - 1] !== null));
    const gaps = [...new Set(lost)].slice(0, MAX_GAPS);
    if (name === "loss" || name === "gradient") setText(figure.querySelector("[data-note]"), gapNote(gaps, this.#axis.value));
    await draw(plotly, figure.querySelector(".plot"), { gaps, xTitle: AXES[this.#axis.value], ...content });
  }

  #bySplit(name) {
    return this.#whole(name).map((found) => trace(found, found.split ?? "train", splitColor(found.split)));
  }

  #whole(name) {
    return this.#series.filter((found) => found.name === name && found.layer === null);
  }

  #byLayer(name, style = {}) {
    const layers = this.#layers();
    return this.#series.filter((found) => found.name === name && found.layer !== null)
      .map((found) => ({ ...trace(found, found.layer, depthColor(layers.indexOf(found.layer), layers.length)), ...style, legendgroup: found.layer }));
  }

  #layers() {
    return [...new Set(this.#series.filter(({ layer }) => layer !== null).map(({ layer }) => layer))];
  }
}

function trace({ x, y, split }, name, color) {
  return { name, x, y, color, markers: split !== "train" && split !== null };
}

function figureOf(name) {
  return document.getElementById(`${name}-figure`);
}

function gapNote(gaps, axis) {
  return gaps.length === 0 ? "" : `not finite from ${AXES[axis]} ${gaps[0]}`;
}

/** Up to 1 where the cosines come near it; small ones are left to their own scale. */
function cosineRange(traces) {
  const values = traces.flatMap(({ y }) => y).filter((value) => value !== null);
  return Math.max(...values) > 0.5 ? [Math.min(-0.02, ...values.map((value) => value - 0.05)), 1.05] : undefined;
}
