// A comparison as tables and charts, from the API's answer alone: the page and the exported file show the same.

import { element, setText, table } from "./elements.js";
import { duration, figure, prefixed, size, words } from "./formats.js";
import { depthColor, draw } from "./plotting.js";

const COSTS = {
  seconds: ["seconds of training", (bill) => bill.training.training_s],
  flops: ["FLOPs of training", (bill) => bill.training.flops],
  memory: ["bytes of stored activations", (bill) => bill.training.activation_bytes],
  inference: ["seconds a prediction", (bill) => bill.inference.seconds_per_row],
};
const OVER = { step: "step", seconds: "seconds of training", flops: "FLOPs of training" };
const DECISIONS = {
  better: "better", worse: "worse", equivalent: "equivalent", not_worse: "not worse", undecided: "undecided", not_tested: "same gradient",
};

const MANY = 10; // arms beyond which a legend leaves a chart of half the width no room

const NO_ANSWER = { cancelling: "It is being cancelled: there will be no answer.", cancelled: "Cancelled: there is no answer.", failed: "It failed: there is no answer." };

/** Fills every part of the page that this answer has something for. */
export function showComparison(root, comparison, learners = []) {
  const result = comparison.result;
  const nothing = NO_ANSWER[comparison.status] ?? "The answer comes when the last job has ended.";
  fill(root, "result", result ? (result.memory ? memoryTable(result) : resultTable(result)) : { columns: [], rows: [] }, nothing);
  fill(root, "bill", result ? comparedBills(result) : { columns: [], rows: [] }, NO_ANSWER[comparison.status] ? "There is no bill." : "The bill comes with the answer.");
  fill(root, "plausibility", plausibilityTable(comparison.arms, learners), "Not measured.");
  fill(root, "seeds", seedTable(comparison), "No job yet.");
  fill(root, "trials", trialTable(comparison), "Untuned: every learner ran with the settings that were posted.");
  list(root, "left-out", comparison.left_out.map(({ name, reason }) => `${words(name)} is left out: ${reason}.`));
  const unmeasured = joulesReason(result?.arms ?? []);
  list(root, "warnings", [...(result?.warnings ?? []).filter((line) => !line.startsWith("Left out:")), ...(unmeasured ? [`Joules were not measured: ${unmeasured}.`] : [])]);
  list(root, "protocol", result?.protocol ?? []);
  list(root, "sentences", (result?.arms ?? []).map(({ sentence }) => sentence).filter(Boolean));
}

/** Draws accuracy against a cost, and the anytime curves. */
export async function drawComparison(plotly, root, comparison) {
  const result = comparison.result;
  for (const figureOfChart of root.querySelectorAll(".chart")) figureOfChart.hidden = !result;
  if (!result) return;
  if (result.memory) {
    await drawMemory(plotly, root, result.memory);
    return;
  }
  const cost = root.querySelector("#pareto-select").value;
  const over = root.querySelector("#curve-select").value;
  const accurate = result.metric === "accuracy";
  root.querySelector(".charts").classList.toggle("many", result.arms.length > MANY);
  await draw(plotly, root.querySelector("#pareto-chart"), {
    traces: paretoTraces(result.arms, COSTS[cost][1], accurate), xTitle: COSTS[cost][0], yTitle: accurate ? "test accuracy, points" : "minus error, per cent", scattered: true,
  });
  await draw(plotly, root.querySelector("#curve-chart"), {
    traces: curveTraces(result.arms, over), xTitle: OVER[over], yTitle: `validation ${accurate ? "accuracy" : "error"}`, logarithmic: !accurate,
  });
}

async function drawMemory(plotly, root, curves) {
  for (const name of ["#pareto-figure", "#curve-select"]) root.querySelector(name).hidden = true;
  setText(root.querySelector("#curve-figure figcaption span"), "Stored activations over depth");
  const traces = curves.map(({ name, role, points }, index) => ({
    name: words(name), color: depthColor(index, curves.length), dash: role === "learner" ? undefined : "dot",
    x: points.map(({ depth }) => depth), y: points.map(({ activation_bytes: bytes }) => bytes),
  }));
  await draw(plotly, root.querySelector("#curve-chart"), { traces, xTitle: "blocks", yTitle: "bytes", logarithmic: true });
}

function memoryTable({ memory }) {
  const depths = memory[0].points.map(({ depth }) => depth);
  const columns = [{ title: "Learner" }, { title: "Role" }, ...depths.map((depth) => ({ title: `${depth} blocks`, number: true })), { title: "Growth", number: true }];
  return { columns, rows: memory.map(({ name, role, points, growth }) => [words(name), role, ...points.map(memoryCell), ratioText(growth)]) };
}

/** Bytes; where a depth has no result, why. */
function memoryCell({ activation_bytes: bytes, status, error }) {
  return status === "succeeded" ? size(bytes) : words(error?.kind ?? status);
}

function spreadOf(mean, interval) {
  return interval ? { below: [mean - interval[0]], above: [interval[1] - mean] } : { below: [0], above: [0] };
}

/** A t interval of few seeds may leave what an accuracy can be. */
function shownInterval(interval, accurate) {
  return interval && accurate ? interval.map((bound) => Math.min(100, Math.max(0, bound))) : interval;
}

function paretoTraces(arms, costOf, accurate) {
  return arms.map((arm, index) => ({ arm, color: depthColor(index, arms.length), x: costOf(arm.bill) }))
    .filter(({ arm, x }) => x !== null && arm.mean !== null)
    .map(({ arm, color, x }) => ({ name: words(arm.name), x: [x], y: [arm.mean], color, spread: spreadOf(arm.mean, shownInterval(arm.interval, accurate)) }));
}

function curveTraces(arms, over) {
  return arms.map((arm, index) => ({
    name: words(arm.name), color: depthColor(index, arms.length), dash: arm.role === "learner" ? undefined : "dot",
    x: arm.curve.map((point) => point[over]), y: arm.curve.map(({ score }) => score),
  })).filter(({ x }) => x.length > 0 && x[0] !== null);
}

function resultTable({ arms, unit, metric, margin }) {
  const columns = [
    { title: "Arm" }, { title: "Role" },
    { title: metric === "accuracy" ? "Test accuracy" : "Minus test error", number: true, note: `mean over seeds and its 95 % interval${metric === "accuracy" ? ", cut at 0 and 100" : ""}` },
    { title: "Difference", number: true, note: `to the reference, paired by seed, in ${unit}, and its 95 % interval, uncorrected` },
    { title: "p", number: true, note: "paired t test, two-sided, with Holm's correction over all arms that are tested" },
    { title: "Decision", note: `at 5 % over all arms together; the margin is ${margin} ${unit}` },
    { title: "Diverged", number: true },
  ];
  return { columns, rows: arms.map((arm) => [
    words(arm.name), arm.role, spreadText(arm.mean, shownInterval(arm.interval, metric === "accuracy")), arm.difference ? spreadText(arm.difference.mean, arm.difference.interval, true) : "–",
    arm.adjusted ? figure(arm.adjusted.p) : "–", arm.decision ? DECISIONS[arm.decision] ?? words(arm.decision) : "reference", `${arm.diverged} of ${arm.runs}`,
  ]) };
}

/** Why joules are missing, said once: it is the machine's reason, not an arm's. */
function joulesReason(arms) {
  return arms.map(({ bill }) => bill.training.joules_reason).find(Boolean);
}

function comparedBills({ arms }) {
  const notes = {
    Trained: "parameters that the rule trains", Frozen: "parameters that no step changes; trained and frozen are all that the job holds",
    Joules: joulesReason(arms),
    Deployed: "parameters that a prediction reads, trained or frozen", "Only training": "all others: deployed + only training = trained + frozen",
  };
  const columns = ["Arm", "Training", "× reference", "FLOPs", "Joules", "Activations", "× reference", "Tuning", "A prediction", "FLOPs", "Trained", "Frozen", "Deployed", "Only training"]
    .map((title, index) => ({ title, number: index > 0, note: notes[title] }));
  return { columns, rows: arms.map(({ name, bill, ratios, timed }) => [
    words(name), duration(bill.training.training_s), timedText(ratios.seconds, timed?.seconds), prefixed(bill.training.flops, "FLOP"),
    bill.training.joules === null ? "–" : `${figure(bill.training.joules)} J`,
    size(bill.training.activation_bytes), ratioText(ratios.memory), bill.tuning.runs ? duration(bill.tuning.training_s) : "–",
    shortTime(bill.inference.seconds_per_row), prefixed(bill.inference.flops_per_row, "FLOP"), prefixed(bill.parameters.trained, ""), prefixed(bill.parameters.frozen, ""), prefixed(bill.parameters.deployed, ""), prefixed(bill.parameters.training_only, ""),
  ]) };
}

function plausibilityTable(arms, learners) {
  const columns = [
    { title: "Arm" }, { title: "Weight transport", note: "the update changes when errors come back through other matrices than the forward weights" },
    { title: "Local", note: "the update does not change when the forward weights above do" },
    { title: "Locked", note: "the layer has to wait until the last one has run forward" },
    { title: "Labels", note: "the update changes when labels change" },
    { title: "Measured with", note: "settings over the learner's defaults, and the small network in which its first layer was looked at" },
  ];
  const yes = (value) => (value ? "yes" : "no");
  const rows = arms.map((arm) => [arm, cardOf(arm.learner, learners)]).filter(([, card]) => card).map(([arm, card]) => [
    words(arm.name), yes(card.weight_transport), yes(!card.depends_on_weights_above), yes(card.update_locked), yes(card.needs_labels),
    `${Object.keys(card.settings).map(words).join(", ") || "defaults"}, ${card.network}`,
  ]);
  return { columns, rows };
}

/** The card whose settings are the arm's, the most of them; the defaults' where no other was measured. */
function cardOf(learner, learners) {
  const cards = learners.find(({ kind }) => kind === learner.kind)?.plausibility ?? [];
  const fitting = cards.filter(({ settings }) => Object.entries(settings).every(([name, value]) => JSON.stringify(learner[name]) === JSON.stringify(value)));
  return fitting.sort((one, other) => Object.keys(other.settings).length - Object.keys(one.settings).length)[0];
}

function seedTable({ arms, rows }) {
  const final = rows.filter(({ stage }) => stage === "final");
  const seeds = [...new Set(final.map(({ seed }) => seed))].sort((one, other) => one - other);
  const columns = [{ title: "Arm" }, ...seeds.map((seed) => ({ title: `seed ${seed}`, number: true }))];
  return { columns: seeds.length ? columns : [], rows: seeds.length === 0 ? [] : arms.map(({ name }) => [
    words(name), ...seeds.map((seed) => runCell(final.find((run) => run.arm === name && run.seed === seed))),
  ]) };
}

function trialTable({ arms, rows }) {
  const tuning = rows.filter(({ stage }) => stage === "tuning");
  const columns = [{ title: "Arm" }, { title: "Settings" }, { title: "Chosen" }, { title: "Validation", number: true }];
  return { columns, rows: arms.flatMap(({ name, trials, chosen }) => trials.map((settings, trial) => [
    words(name), settingsText(settings), chosen && settingsText(chosen) === settingsText(settings) ? "✓" : "",
    runCell(tuning.find((run) => run.arm === name && run.trial === trial), "validation"),
  ])) };
}

function runCell(run, split = "test") {
  if (!run) return "–";
  const metrics = run.metrics?.[split] ?? {};
  const value = metrics.accuracy ?? metrics.mse;
  const text = value !== undefined && value !== null ? (metrics.accuracy !== undefined ? `${(100 * value).toFixed(1)} %` : figure(value)) : run.error ? words(run.error.kind) : run.status;
  return run.job_id ? { text, href: `/jobs/${run.job_id}` } : text;
}

function settingsText(settings) {
  const found = Object.entries(settings).map(([pointer, value]) => `${words(pointer.split("/").at(-1))} ${figure(value)}`);
  return found.length ? found.join(", ") : "as posted";
}

function spreadText(mean, interval, signed = false) {
  if (mean === null || mean === undefined) return "–";
  const shown = (value) => `${signed && value > 0 ? "+" : ""}${value.toFixed(2)}`.replace("-", "−");
  return interval ? `${shown(mean)} (${shown(interval[0])} to ${shown(interval[1])})` : shown(mean);
}

function ratioText(ratio) {
  return ratio === null || ratio === undefined ? "–" : `${ratio.toPrecision(2)} ×`;
}

function timedText(ratio, timed) {
  const interval = timed?.interval;
  return interval ? `${ratioText(ratio)} (${interval.map((bound) => bound.toPrecision(2)).join(" to ")})` : ratioText(ratio);
}

function shortTime(seconds) {
  return seconds === null || seconds === undefined ? "–" : `${figure(1e6 * seconds)} µs`;
}

function fill(root, name, made, nothing) {
  const place = root.querySelector(`[data-table=${name}]`);
  const drawn = table(made, nothing);
  if (place.textContent !== drawn.textContent || place.childElementCount === 0) place.replaceChildren(drawn);
}

function list(root, name, texts) {
  const place = root.querySelector(`[data-list=${name}]`);
  place.hidden = texts.length === 0;
  if (place.childElementCount !== texts.length) place.replaceChildren(...texts.map((text) => element("li", {}, text)));
  else texts.forEach((text, index) => setText(place.children[index], text));
}
