// A job in a few words. `job_lines.py` and `job_view.py` say the same on the server.

import { NOTHING, duration, figure, metricText, share, words } from "./formats.js";

const SPLITS = ["test", "validation", "train"];

/** What the job reached on the split that it was trained for least; `evaluated`: so far, on validation. */
export function lastMetric(job, evaluated = {}) {
  const bySplit = job.result?.metrics ?? { validation: evaluated };
  for (const split of SPLITS) {
    const metrics = Object.entries(bySplit[split] ?? {});
    const chosen = metrics.find(([name]) => name !== "loss") ?? metrics[0];
    if (chosen) return `${metricText(...chosen)} ${short(chosen[0], split)}`;
  }
  return NOTHING;
}

/** The best evaluation of the watched metric. */
export function bestMetric(job) {
  const best = job.result?.best;
  if (!best || best.value === null || best.metric === null) return NOTHING;
  return `${metricText(best.metric, best.value)} ${short(best.metric, best.split)}`;
}

/** A few words beside the status. */
export function standing(job) {
  if (job.error) return words(job.error.kind);
  if (job.phase === "active" && job.progress?.steps) return share(done(job));
  if (job.status === "queued" && job.status_reason) return words(job.status_reason.code);
  return "";
}

/** How much of training is done, 0 to 1. */
export function done(job) {
  if (job.status === "succeeded") return 1;
  const { step, steps } = job.progress ?? {};
  return step && steps ? Math.min(1, step / steps) : 0;
}

export function progressText(job) {
  const { epoch, epochs, step, steps, samples_per_s: speed, eta_s: left } = job.progress ?? {};
  const known = (value) => value !== null && value !== undefined;
  const parts = [];
  if (known(epoch)) parts.push(`epoch ${epoch}${epochs ? ` of ${epochs}` : ""}`);
  if (known(step)) parts.push(`step ${figure(step)}${steps ? ` of ${figure(steps)}` : ""}`);
  if (known(speed)) parts.push(`${figure(Math.round(speed))} samples/s`);
  if (known(left)) parts.push(`${duration(left)} left`);
  return parts.join(" · ");
}

export function bestText(job) {
  const best = job.result?.best;
  if (!best || best.value === null || best.metric === null) return "";
  const text = `Best ${words(best.metric)} on ${best.split}: ${metricText(best.metric, best.value)} at step ${best.step}.`;
  return best.restored ? `${text} The saved weights are those of that step.` : text;
}

function short(name, split) {
  return name === "accuracy" ? split : `${words(name)}, ${split}`;
}
