// What the trainer printed; read when somebody opens it.

import { read } from "./api_client.js";

const MAX_LINES = 2000;
const PAGE = 1000;
const MOST_PAGES = 50; // at a time

/** The log of a job, in its fold of the page. */
export class Log {
  #job;
  #seen = 0;
  #lines = [];
  #fold = document.getElementById("log");
  #place = document.getElementById("log-lines");

  constructor(jobId) {
    this.#job = jobId;
    this.#fold.addEventListener("toggle", () => this.refresh().catch(() => {})); // the page says when the service is away
  }

  /** Reads on from the last line, if the fold is open. */
  async refresh() {
    if (!this.#fold.open) return;
    for (let pages = 0; pages < MOST_PAGES; pages += 1) {
      const page = await read(`/v1/jobs/${this.#job}/logs?after=${this.#seen}&limit=${PAGE}`);
      const fresh = page.data.filter(({ sequence }) => sequence > this.#seen);
      this.#seen = fresh.at(-1)?.sequence ?? this.#seen;
      this.#lines = [...this.#lines, ...fresh.map(({ message }) => message)].slice(-MAX_LINES);
      if (!page.has_more) break;
    }
    this.#place.textContent = this.#lines.length ? this.#lines.join("\n") : "It has printed nothing.";
  }
}
