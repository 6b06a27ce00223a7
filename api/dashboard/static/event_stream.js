// The events of a job as they happen. The browser resumes a lost stream by itself, after the last event it saw.
// A hidden page lets go of its stream: a browser opens six connections to one service, over all its tabs.

const TYPES = ["status", "progress", "metrics", "checkpoint", "evaluation", "verdict", "warning", "end"];
const FRAME = new Set(["event_id", "attempt", "created_at"]);

/** Follows a job after a sequence number. Calls `happened(event)`, `state("on" | "lost" | "ended" | "off")`. */
export function follow(jobId, after, { happened, state }) {
  let seen = Number(after);
  let source = null;
  let ended = false;

  function open() {
    source = new EventSource(`/v1/jobs/${jobId}/events?after=${seen}`);
    source.addEventListener("open", () => state("on"));
    source.addEventListener("error", () => { if (!ended) state("lost"); });
    for (const type of TYPES) source.addEventListener(type, (message) => take(type, message));
  }

  function close() {
    source?.close();
    source = null;
  }

  function take(type, message) {
    const sequence = Number(message.lastEventId);
    if (sequence <= seen) return;
    seen = sequence;
    const fields = JSON.parse(message.data);
    const data = Object.fromEntries(Object.entries(fields).filter(([name]) => !FRAME.has(name)));
    if (type === "end") {
      ended = true;
      close();
      state("ended");
    }
    happened({ type, created_at: fields.created_at, data });
  }

  document.addEventListener("visibilitychange", () => {
    if (ended) return;
    if (document.hidden) {
      close();
      state("off");
    } else if (source === null) {
      open();
    }
  });
  if (!document.hidden) open();
}
