// The page of a comparison: reads it until it is over, and shows what the API says.

import { Refused, read, send } from "./api_client.js";
import { drawComparison, showComparison } from "./comparison_view.js";
import { copyButtons, localTimes, setText } from "./elements.js";
import { moment } from "./formats.js";
import { load, onThemeChange } from "./plotting.js";

const PAUSE_MS = 2000;

const page = document.getElementById("comparison");
const path = `/v1/comparisons/${page.dataset.comparison}`;
const field = (name) => page.querySelector(`[data-field=${name}]`);
const trouble = document.getElementById("trouble");
const cancel = page.querySelector("[data-action=cancel]");

let comparison = null;
let learners = [];

async function show() {
  const { status, phase, progress, sentence, error } = comparison;
  setText(field("status"), status);
  field("status").dataset.status = status;
  const told = sentence ?? error?.message ?? (status === "cancelled" ? "Cancelled: there is no answer." : "");
  setText(field("sentence"), told);
  field("sentence").hidden = !told;
  setText(field("progress"), `${progress.ended} of ${progress.runs} jobs${status === "tuning" ? " of tuning" : ""}`);
  page.querySelector("progress").value = progress.runs ? progress.ended / progress.runs : 0;
  document.getElementById("progress").hidden = phase === "terminal";
  cancel.hidden = phase === "terminal" || status === "cancelling";
  showComparison(page, comparison, learners);
  if (comparison.result) await drawComparison(await load(page.dataset.plotly), page, comparison);
}

async function keepUp() {
  try {
    if (learners.length === 0) learners = (await read("/v1/learners")).data;
    comparison = await read(path);
    trouble.hidden = true;
    await show();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    setText(trouble, `${error.message} What is shown may be old.`);
    trouble.hidden = false;
  }
  if (comparison?.phase !== "terminal") setTimeout(keepUp, PAUSE_MS);
}

cancel.addEventListener("click", async () => {
  cancel.disabled = true;
  try {
    comparison = await send("POST", `${path}/cancel`);
    await show();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    setText(trouble, error.message);
    trouble.hidden = false;
  }
});
const redraw = () => comparison && show();
for (const select of page.querySelectorAll("select")) select.addEventListener("change", redraw);
onThemeChange(redraw);
copyButtons(page);
localTimes(page, moment);
keepUp();
