// The page of a job: follows the job until it ends, and shows what the API says.

import { Refused, read } from "./api_client.js";
import { Charts } from "./charts.js";
import { copyButtons, localTimes, setText, table } from "./elements.js";
import { follow } from "./event_stream.js";
import { duration, moment, took, words } from "./formats.js";
import { showActions, wireActions } from "./job_actions.js";
import { bestText, done, progressText } from "./job_lines.js";
import { Log } from "./job_log.js";
import { attemptTable, billTable, eventTable, fileTable, layerTable, resultTable } from "./job_tables.js";
import { VerdictList } from "./verdict_list.js";

const SHORTEST_MS = 1500;
const LONGEST_MS = 5000;
const QUIET_MS = 6000;
const MAX_EVENTS = 50;
const QUIET = new Set(["progress", "metrics"]); // the progress bar and the charts show them
const LIVE = { on: "live", lost: "connection lost, trying again", ended: "", off: "" };

const page = document.getElementById("job");
const jobId = page.dataset.job;
const charts = new Charts(jobId, page.dataset.plotly);
const log = new Log(jobId);
const field = (name) => page.querySelector(`[data-field=${name}]`);
const trouble = document.getElementById("trouble");
const verdicts = new VerdictList(document.getElementById("verdicts"), jobId, { refused: showTrouble });

let job = null;
let dirty = true;
let readAt = 0;
let ended = page.dataset.phase === "terminal";

function showJob(latest) {
  job = latest;
  const badge = field("status");
  setText(badge, job.status);
  badge.dataset.status = job.status;
  setText(field("name"), job.name ?? job.id);
  setText(field("reason"), job.error ? "" : job.status_reason?.message ?? "");
  setText(field("duration"), duration(took(job)));
  setText(field("best"), bestText(job));
  setText(field("progress"), progressText(job));
  const bar = document.getElementById("progress");
  bar.hidden = job.phase === "terminal" || !job.progress;
  bar.querySelector("progress").value = done(job);
  showError(job.error);
  showActions(page, job);
  document.title = `${job.phase === "active" ? `${Math.floor(100 * done(job))} % · ` : ""}${job.name ?? job.id} · Afterprop`;
}

function showError(error) {
  const box = field("error");
  box.hidden = !error;
  if (!error) return;
  const told = error.step === null || error.step === undefined || error.message.includes(`step ${error.step}`);
  setText(box, `${words(error.kind)} (fault: ${error.fault}): ${error.message}${told ? "" : ` Step ${error.step}.`}`);
}

function showTable(name, content, nothing) {
  const place = page.querySelector(`[data-table=${name}]`);
  const made = table(content, nothing);
  localTimes(made, moment);
  if (place.textContent !== made.textContent || place.childElementCount === 0) place.replaceChildren(made);
}

async function showResults() {
  const [diagnostics, attempts] = await Promise.all([
    read(`/v1/jobs/${jobId}/diagnostics`), read(`/v1/jobs/${jobId}/attempts`),
  ]);
  showTable("result", resultTable(job, diagnostics), "Nothing measured yet.");
  showTable("bill", billTable(job, attempts.data, diagnostics), "The bill comes with the result.");
  showTable("layers", layerTable(diagnostics), "No diagnostics yet.");
  showTable("attempts", attemptTable(attempts.data), "No worker has taken it yet.");
  setText(field("device"), attempts.data.at(-1)?.device ?? job.resolved_spec.resources.device);
}

async function showFiles() {
  const [artifacts, checkpoints] = await Promise.all([
    read(`/v1/jobs/${jobId}/artifacts`), read(`/v1/jobs/${jobId}/checkpoints`),
  ]);
  showTable("files", fileTable(artifacts.data, checkpoints.data), "No file yet.");
}

function addEvent(event) {
  if (QUIET.has(event.type)) return;
  const place = page.querySelector("[data-table=events]");
  const row = table(eventTable([event]), "");
  localTimes(row, moment);
  const body = place.querySelector("tbody");
  if (!body) {
    place.replaceChildren(row);
    return;
  }
  body.prepend(row.querySelector("tbody tr"));
  while (body.rows.length > MAX_EVENTS) body.lastElementChild.remove();
}

/** Status and progress are shown at once; charts and tables follow in their own time. */
async function happened(event) {
  addEvent(event);
  dirty = true;
  ended = ended || event.type === "end";
  if (event.type === "progress" && job?.phase === "active") showJob({ ...job, progress: event.data });
  if (event.type === "status") await showStatus();
}

async function showStatus() {
  try {
    showJob(await read(`/v1/jobs/${jobId}`));
  } catch (error) {
    if (!(error instanceof Refused)) throw error; // the next look will say it
  }
}

async function refresh() {
  dirty = false;
  readAt = Date.now();
  showJob(await read(`/v1/jobs/${jobId}`));
  await Promise.all([charts.refresh(), showResults(), showFiles(), verdicts.refresh(), log.refresh()]);
}

/** Looks again when something happened, or after a quiet while; slower where answers are slow. */
async function keepUp() {
  let pause = SHORTEST_MS;
  const wanted = dirty || Date.now() - readAt > QUIET_MS;
  if (wanted && !document.hidden) {
    const last = ended;
    try {
      await refresh();
      trouble.hidden = true;
      pause = Math.min(LONGEST_MS, Math.max(SHORTEST_MS, 2 * (Date.now() - readAt)));
      ended = ended || job.phase === "terminal";
      if (last && job.phase === "terminal") return;
      dirty = dirty || ended;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      dirty = true;
      showTrouble(`${error.message} What is shown may be old.`);
    }
  }
  setTimeout(keepUp, pause);
}

function showTrouble(message) {
  setText(trouble, message);
  trouble.hidden = false;
}

function showState(state) {
  const live = document.getElementById("live");
  live.dataset.state = state;
  setText(live, LIVE[state]);
}

wireActions(page, jobId, {
  changed: (latest) => { showJob(latest); dirty = true; },
  refused: (message) => { showTrouble(message); dirty = true; },
});
copyButtons(page);
localTimes(page, moment);
if (!ended) {
  follow(jobId, page.dataset.seen, {
    happened,
    state: showState,
  });
}
keepUp();
