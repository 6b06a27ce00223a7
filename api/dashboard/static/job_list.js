// The list of jobs: kept up to date while it is looked at.

import { Refused, read, send } from "./api_client.js";
import { copyButtons, element, localTimes, setText } from "./elements.js";
import { duration, moment, took, words } from "./formats.js";
import { bestMetric, lastMetric, standing } from "./job_lines.js";

const EVERY_MS = 2000;
const ACTIVE = new Set(["starting", "running", "pausing", "cancelling", "finalizing"]);

const jobs = document.getElementById("jobs");
const trouble = document.getElementById("trouble");

async function refreshJobs() {
  const { data } = await read(`/v1/jobs?${jobs.dataset.query}`);
  const evaluated = await Promise.all(data.map((job) => (job.phase === "active" ? latestEvaluation(job) : {})));
  const body = jobs.tBodies[0];
  const rows = new Map(Array.from(body.rows, (row) => [row.dataset.job, row]));
  data.forEach((job, index) => {
    const row = rows.get(job.id) ?? newRow(job);
    rows.delete(job.id);
    fill(row, job, evaluated[index]);
    if (body.rows[index] !== row) body.insertBefore(row, body.rows[index] ?? null);
  });
  for (const gone of rows.values()) gone.remove();
  document.getElementById("none").hidden = data.length > 0;
}

function newRow(job) {
  const cell = (label, attributes, ...children) => element("td", { "data-label": label, ...attributes }, ...children);
  return element("tr", { "data-job": job.id },
    cell("Job", {}, element("a", { class: "name", href: `/jobs/${job.id}` })),
    cell("Status", {}, element("span", { class: "badge" }), " ", element("span", { class: "beside" })),
    cell("Learner", {}, words(job.resolved_spec.learner.kind)),
    cell("Network", {}, job.resolved_spec.network.kind),
    cell("Data", {}, dataset(job.resolved_spec.dataset)),
    cell("Last", { class: "number" }),
    cell("Best", { class: "number" }),
    cell("Duration", { class: "number" }),
    cell("Created", {}, element("time", { datetime: job.created_at }, moment(job.created_at))));
}

/** The newest value of each metric of a job that still runs. */
async function latestEvaluation(job) {
  const { data } = await read(`/v1/jobs/${job.id}/series/query?split=validation&max_points=1&method=last`);
  return Object.fromEntries(data.filter(({ y }) => y.length).map(({ name, y }) => [name, y.at(-1) ?? NaN]));
}

function fill(row, job, evaluated) {
  setText(row.querySelector(".name"), job.name ?? job.id.slice(0, 16));
  const badge = row.querySelector(".badge");
  setText(badge, job.status);
  badge.dataset.status = job.status;
  setText(row.querySelector(".beside"), standing(job));
  setText(row.querySelector("[data-label=Last]"), lastMetric(job, evaluated));
  setText(row.querySelector("[data-label=Best]"), bestMetric(job));
  setText(row.querySelector("[data-label=Duration]"), duration(took(job)));
}

function dataset(spec) {
  return spec.name ?? spec.path ?? spec.kind;
}

async function refreshSummary() {
  const [workers, queue] = await Promise.all([read("/v1/workers"), read("/v1/queue?limit=1")]);
  const added = (list, field) => list.reduce((sum, item) => sum + item[field], 0);
  const classes = Object.values(queue.counts);
  const active = classes.flatMap(Object.entries).filter(([status]) => ACTIVE.has(status));
  const shown = {
    workers: workers.data.length,
    slots: `${added(workers.data, "busy")} of ${added(workers.data, "slots")}`,
    waiting: classes.reduce((sum, counts) => sum + (counts.queued ?? 0), 0),
    active: active.reduce((sum, [, count]) => sum + count, 0),
  };
  for (const [name, value] of Object.entries(shown)) setText(document.querySelector(`[data-stat=${name}]`), String(value));
  document.getElementById("no-worker").hidden = workers.data.length > 0;
  return shown.waiting + shown.active;
}

async function refresh() {
  if (!document.hidden) {
    try {
      const under_way = await refreshSummary();
      if (jobs) await refreshJobs();
      else if (under_way) window.location.reload();
      trouble.hidden = true;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      setText(trouble, `${error.message} What is shown may be old.`);
      trouble.hidden = false;
    }
  }
  setTimeout(refresh, EVERY_MS);
}

const post = document.getElementById("post-first");
post?.addEventListener("click", async () => {
  post.disabled = true;
  try {
    const job = await send("POST", "/v1/jobs", JSON.parse(post.dataset.spec));
    window.location.assign(`/jobs/${job.id}`);
  } catch (error) {
    setText(trouble, error.message);
    trouble.hidden = false;
    post.disabled = false;
  }
});

localTimes(document, moment);
copyButtons(document);
document.addEventListener("visibilitychange", () => { if (!document.hidden && jobs) refreshJobs().catch(() => {}); });
setTimeout(refresh, EVERY_MS);
