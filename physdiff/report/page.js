"use strict";
// Sorting of tables and sliders of pictures. The page is complete without it: buttons and sliders are made here or shown from here.

function sortable(table) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const hint = document.createElement("span");
  hint.className = "hint";
  hint.textContent = " (a button in a column heading sorts by it)";
  table.caption.append(hint);
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const upwards = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", upwards ? "ascending" : "descending");
      const rows = [...body.rows].sort((a, b) => compared(a.cells[column], b.cells[column], upwards));
      body.append(...rows);
    });
  });
}

// Numbers by size, text by letters; an entry without a value comes last either way.
function compared(a, b, upwards) {
  const sign = upwards ? 1 : -1;
  if (a.dataset.value === undefined || b.dataset.value === undefined) {
    return sign * a.textContent.localeCompare(b.textContent, undefined, { numeric: true });
  }
  if (a.dataset.value === "" || b.dataset.value === "") {
    return (a.dataset.value === "") - (b.dataset.value === "");
  }
  // repr of Python's infinities is inf and -inf
  const [x, y] = [a, b].map((cell) => Number(cell.dataset.value.replace("inf", "Infinity")));
  return x === y ? 0 : sign * (x < y ? -1 : 1);
}

function slides(figure) {
  const frames = [...figure.querySelectorAll(".frame")];
  const input = figure.querySelector("input");
  const output = figure.querySelector("output");
  const show = () => {
    const at = Number(input.value);
    frames.forEach((frame, k) => frame.classList.toggle("shown", k === at));
    reachable();
    output.textContent = frames[at].dataset.name;
    input.setAttribute("aria-valuetext", frames[at].dataset.name);
  };
  input.addEventListener("input", show);
  input.value = "0"; // a reloaded page would keep the place of the knob, not the frame
  show();
  figure.classList.add("moving");
  figure.querySelector(".control").hidden = frames.length < 2;
}

// A picture that is wider than the window scrolls inside its frame, by the arrow keys too.
function reachable() {
  document.querySelectorAll(".view").forEach((view) => {
    const wide = view.scrollWidth > view.clientWidth;
    for (const [name, value] of [["tabindex", "0"], ["role", "group"], ["aria-label", "Picture, scrolls sideways"]]) {
      wide ? view.setAttribute(name, value) : view.removeAttribute(name);
    }
  });
}

document.querySelectorAll("table.sortable").forEach(sortable);
document.querySelectorAll("figure.slides").forEach(slides);
window.addEventListener("resize", reachable);
reachable();
