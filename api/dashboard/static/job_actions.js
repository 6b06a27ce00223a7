// What can be done with a job. What cannot be undone is asked for twice.

import { Refused, send } from "./api_client.js";

const ACTIVE = new Set(["starting", "running", "pausing", "finalizing"]);
const ALLOWED = {
  pause: (job) => job.status === "starting" || job.status === "running",
  resume: (job) => job.status === "paused",
  cancel: (job) => job.phase === "pending" || ACTIVE.has(job.status),
  retry: (job) => job.phase === "terminal",
  delete: (job) => job.phase === "terminal",
};
const ASKED_TWICE = new Set(["cancel", "delete"]);
const SURE_FOR_MS = 4000;

/** Wires the buttons; `changed` is called with the job after each action, `refused` with a message. */
export function wireActions(root, jobId, { changed, refused }) {
  for (const button of root.querySelectorAll("[data-action]")) {
    button.addEventListener("click", () => {
      if (ASKED_TWICE.has(button.dataset.action) && !button.hasAttribute("data-sure")) askAgain(button);
      else act(button, jobId, { changed, refused });
    });
  }
}

/** Shows the buttons of what the job's status allows. */
export function showActions(root, job) {
  for (const button of root.querySelectorAll("[data-action]")) {
    const allowed = ALLOWED[button.dataset.action](job);
    if (button.hidden === allowed) button.hidden = !allowed;
  }
}

function askAgain(button) {
  const label = button.textContent;
  button.setAttribute("data-sure", "");
  button.textContent = `${label}: sure?`;
  setTimeout(() => {
    button.removeAttribute("data-sure");
    button.textContent = label;
  }, SURE_FOR_MS);
}

async function act(button, jobId, { changed, refused }) {
  const action = button.dataset.action;
  button.disabled = true;
  try {
    if (action === "delete") {
      await send("DELETE", `/v1/jobs/${jobId}`);
      window.location.assign("/");
      return;
    }
    const job = await send("POST", `/v1/jobs/${jobId}/${action}`);
    if (job.id !== jobId) window.location.assign(`/jobs/${job.id}`);
    else changed(job);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    refused(error.message);
  } finally {
    button.disabled = false;
  }
}
