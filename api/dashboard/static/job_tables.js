// The tables of a job's page, from the answers of the API. `tables.py` builds the same for the first view.

import { NOTHING, capitalized, duration, figure, metricText, prefixed, share, size, words } from "./formats.js";

const SPLITS = ["train", "validation", "test"];
const LAYER_QUANTITIES = [
  ["grad_norm", "Gradient norm", "L2 norm of what the optimizer was given, before clipping"],
  ["weight_norm", "Weight norm", "L2 norm before the update"],
  ["update_ratio", "Update ratio", "update norm over weight norm; about 0.001 is usual"],
  ["dead_share", "Dead units", "share that is zero on a whole probe batch"],
];

/** Loss and metrics of each split: the result's, or the latest ones while the job runs. */
export function resultTable(job, diagnostics) {
  const metrics = job.result ? job.result.metrics : latestMetrics(diagnostics);
  const names = [...new Set(SPLITS.flatMap((split) => Object.keys(metrics[split] ?? {})))];
  const columns = [{ title: "Split" }, ...names.map((name) => ({ title: capitalized(words(name)), number: true }))];
  const rows = SPLITS.filter((split) => metrics[split])
    .map((split) => [split, ...names.map((name) => metricText(name, metrics[split][name]))]);
  return { columns, rows };
}

function latestMetrics(diagnostics) {
  const metrics = {};
  if (diagnostics.network.loss) metrics.train = { loss: latestOf(diagnostics.network.loss) };
  for (const [split, quantities] of Object.entries(diagnostics.splits)) {
    metrics[split] = Object.fromEntries(Object.entries(quantities).map(([name, quantity]) => [name, latestOf(quantity)]));
  }
  return metrics;
}

/** What the job took, and the reason for what could not be measured. */
export function billTable(job, attempts, diagnostics) {
  const cost = job.result?.cost ?? attempts.at(-1)?.cost;
  const columns = [{ title: "What" }, { title: "How much", number: true }];
  if (!cost) return { columns, rows: [] };
  const rows = [
    ["Time", duration(cost.wall_s)],
    ["Training", foretold(duration, cost, "training_s")],
    ["Processor time", duration(cost.cpu_s)],
    ["Arithmetic", prefixed(cost.flops, "FLOP")],
    ["Parameters", figure(cost.parameters)],
    ["Peak memory", foretold(size, cost, "peak_bytes")],
    ["Activations kept", size(cost.memory?.activation_bytes)],
    ["Energy", joules(cost.energy)],
  ];
  const overhead = diagnostics.measured.overhead_share;
  if (typeof overhead === "number") rows.push(["Share of measuring", share(overhead)]);
  return { columns, rows: rows.filter(([, value]) => value !== NOTHING) };
}

/** A figure, and what the first steps of the job let expect. */
function foretold(written, cost, name) {
  const expected = cost.predicted?.[name] ?? null;
  return expected === null ? written(cost[name] ?? null) : `${written(cost[name] ?? null)} (first steps: ${written(expected)})`;
}

function joules(energy) {
  if (!energy) return NOTHING;
  if (energy.joules !== null) return `${prefixed(energy.joules, "J")} (${energy.source})`;
  return energy.reason ? `not measured: ${words(energy.reason)}` : NOTHING;
}

/** Where each layer stands; the last row is the whole network. */
export function layerTable(diagnostics) {
  const columns = [
    { title: "Layer" },
    ...LAYER_QUANTITIES.map(([, title, note]) => ({ title, note, number: true })),
    { title: "Alignment", number: true, note: "cosine with the true gradient of the same batch" },
    { title: "Expected", number: true, note: "the cosine that a correct estimate of this kind reaches" },
    { title: "Length ratio", number: true, note: "norm of the gradient over the norm of the true one" },
  ];
  const rows = diagnostics.layers.map(({ layer, quantities }) => [layer, ...layerCells(quantities)]);
  if (rows.length && diagnostics.network.grad_norm) rows.push(["whole network", ...layerCells(diagnostics.network)]);
  return { columns, rows };
}

function layerCells(quantities) {
  const cells = LAYER_QUANTITIES.map(([name]) => latest(quantities, name, name === "dead_share" ? share : figure));
  const aligned = ["alignment_cosine", "alignment_expected", "alignment_norm_ratio"];
  return [...cells, ...aligned.map((name) => latest(quantities, name, figure))];
}

function latest(quantities, name, format) {
  return quantities[name] ? format(latestOf(quantities[name])) : NOTHING;
}

/** NaN where the newest point is not finite. */
function latestOf({ count, latest }) {
  return count > 0 && latest === null ? NaN : latest;
}

/** What the job left, and from what it could go on. */
export function fileTable(artifacts, checkpoints) {
  const columns = [{ title: "File" }, { title: "Size", number: true }, { title: "SHA-256" }];
  const files = artifacts.map(({ name, url, bytes, sha256 }) => [{ text: name, href: url }, size(bytes), sha256.slice(0, 12)]);
  const kept = checkpoints.map(({ step, bytes, sha256 }) =>
    [`checkpoint, step ${figure(step)}`, size(bytes), sha256.slice(0, 12)]);
  return { columns, rows: [...files, ...kept] };
}

/** Executions, oldest first. */
export function attemptTable(attempts) {
  const columns = [{ title: "No." }, { title: "Device" }, { title: "Host" }, { title: "Started" },
    { title: "From step", number: true }, { title: "End" }];
  const rows = attempts.map((row) => [
    String(row.number), row.device ?? NOTHING, row.host,
    { time: row.started_at }, figure(row.resumed_from_step), row.exit_cause ? words(row.exit_cause) : "under way",
  ]);
  return { columns, rows };
}

/** Events as {type, created_at, data}, newest first. */
export function eventTable(events) {
  const columns = [{ title: "Time" }, { title: "Event" }, { title: "What" }];
  const rows = events.map(({ type, created_at: time, data }) => [{ time }, type, described(data)]);
  return { columns, rows };
}

/** The fields of an event in one line. */
export function described(detail) {
  return Object.entries(detail).filter(([, value]) => value !== null).map(([name, value]) => {
    if (typeof value === "object") return `${name} (${described(value)})`;
    const text = name === "sha256" ? value.slice(0, 12) : figure(value);
    return `${words(name)} ${text}`;
  }).join(", ");
}
