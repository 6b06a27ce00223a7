// Building the page. Texts go in as text alone, so that nothing a client named can become markup.

/** A new element with attributes and children; a child that is no node becomes text. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.map((child) => (child instanceof Node ? child : String(child))));
  return made;
}

/** Changes a text only when it differs, so that a selection in it lives on. */
export function setText(target, text) {
  if (target && target.textContent !== text) target.textContent = text;
}

/** A table of {columns: [{title, number, note}], rows: [[cell]]}; a cell is a text, {text, href} or {time}. */
export function table({ columns, rows }, nothing) {
  if (rows.length === 0) return element("p", { class: "quiet" }, nothing);
  const head = columns.map(({ title, number, note }) =>
    element("th", { scope: "col", class: number && "number", title: note }, title));
  const body = rows.map((row) => element("tr", {}, ...row.map((cell, index) => {
    const kind = index === 0 ? "th" : "td";
    return element(kind, { scope: index === 0 && "row", class: columns[index].number && "number" }, content(cell));
  })));
  return element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...body));
}

/** Shows times in the reader's own zone, with the full one on hover. */
export function localTimes(root, moment) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    setText(time, moment(time.dateTime));
    time.title = new Date(time.dateTime).toLocaleString();
  }
}

/** Buttons with data-copy="ID" copy the text of that element. */
export function copyButtons(root) {
  for (const button of root.querySelectorAll("[data-copy]")) {
    const label = button.textContent;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
      button.textContent = "copied";
      setTimeout(() => { button.textContent = label; }, 1500);
    });
  }
}

function content(cell) {
  if (cell !== null && typeof cell === "object") {
    if (cell.href) return element("a", { href: cell.href }, cell.text);
    if (cell.time) return element("time", { datetime: cell.time }, cell.time);
  }
  return cell;
}
