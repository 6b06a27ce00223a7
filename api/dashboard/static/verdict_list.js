// The verdicts of a job, and the buttons that try a remedy. `verdict_lines.py` builds the same for the first view.

import { Refused, read, send } from "./api_client.js";
import { element } from "./elements.js";
import { figure, size, words } from "./formats.js";

const REASONS = {
  fork_not_ended: "has not ended yet",
  fork_deleted: "was deleted",
  loss_above_first: "did not help, its loss is above where it began",
};

/** Keeps the list up to date. `refused` is called with a message where a remedy cannot be tried. */
export class VerdictList {
  constructor(root, jobId, { refused }) {
    this.section = root;
    this.list = root.querySelector("ol");
    this.path = `/v1/jobs/${jobId}/verdicts`;
    this.refused = refused;
    this.shown = null;
  }

  async refresh() {
    const { data } = await read(this.path);
    const latest = JSON.stringify(data);
    if (latest === this.shown) return; // a button in use keeps the focus
    this.shown = latest;
    this.list.replaceChildren(...data.map((verdict) => this.item(verdict)));
    this.section.hidden = data.length === 0;
  }

  item(verdict) {
    const remedies = verdict.remedies.map((remedy, index) => {
      const button = element("button", { type: "button", class: "small" }, "Try it");
      button.addEventListener("click", () => this.apply(verdict.id, index, button));
      return element("li", {}, remedyText(remedy), " ", button);
    });
    const tried = verdict.applied.map((applied) => {
      const text = triedText(applied, verdict);
      return element("p", { class: "tried" }, applied.status === null ? text
        : element("a", { href: `/jobs/${applied.job_id}` }, text));
    });
    return element("li", {},
      element("p", { class: "found" },
        element("span", { class: "badge", "data-severity": verdict.severity }, verdict.severity), " ",
        element("strong", {}, words(verdict.code)), " ", whereText(verdict)),
      element("p", {}, verdict.summary),
      element("p", { class: "quiet" }, evidenceText(verdict.evidence)),
      element("ul", {}, ...remedies), ...tried);
  }

  async apply(verdictId, remedy, button) {
    button.disabled = true;
    try {
      const fork = await send("POST", `${this.path}/${verdictId}/apply`, { remedy });
      window.location.assign(`/jobs/${fork.id}`);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      this.refused(error.message);
    } finally {
      button.disabled = false;
    }
  }
}

function whereText(verdict) {
  const [first, last] = [figure(verdict.first_step), figure(verdict.last_step)];
  const steps = first === last ? `step ${first}` : `steps ${first} to ${last}`;
  const cause = verdict.caused_by === null ? "" : `, explained by: ${words(verdict.caused_by)}`;
  return `${verdict.layer ?? "whole network"}, ${steps}${cause}`;
}

function evidenceText({ quantity, value, threshold, comparison, window, numbers, facts }) {
  const parts = [];
  if (value !== null) {
    const limit = threshold === null ? "" : `, ${comparison} ${figure(threshold)}`;
    const over = window > 1 ? ` over ${window} points` : "";
    parts.push(`${words(quantity)} ${figure(value)}${limit}${over}`);
  }
  for (const [name, number] of Object.entries(numbers)) {
    if (number !== null) parts.push(`${words(name)} ${figure(number)}`);
  }
  for (const [name, text] of Object.entries(facts)) parts.push(`${words(name)} ${text}`);
  return parts.join(" · ");
}

function remedyText({ title, patch, predicted_saving_bytes: saving }) {
  const changes = patch.map(({ op, path, value }) => (op === "remove" ? `${path} removed` : `${path} = ${shown(value)}`));
  return `${title} ${changes.join(", ")}.${saving === null ? "" : ` Frees about ${size(saving)}.`}`;
}

function shown(value) {
  if (typeof value === "string") return value;
  return typeof value === "number" ? figure(value) : JSON.stringify(value);
}

function triedText({ remedy, helped, reason, status, split, loss_before: before, loss_after: after }, verdict) {
  const spoken = helped === false ? "did not help" : `is ${status}`;
  let text = helped ? "helped" : REASONS[reason] ?? spoken;
  if (helped !== null && after !== null) {
    text = `${text}: ${split} loss ${before === null ? "" : `${figure(before)} → `}${figure(after)}`;
  }
  return `${verdict.remedies[remedy].title.replace(/\.+$/, "")}: ${text}`;
}
