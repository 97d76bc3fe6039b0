// A file that is dropped on a view, and its way from one view to another: only the browser has it.

/** Call take(file) when a file is dropped on the element, which has `data-over` while one hangs above it. */
function dropsOn(element, take) {
  const carries = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  const over = (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    element.dataset.over = "";
  };
  element.addEventListener("dragenter", over);
  element.addEventListener("dragover", over);
  element.addEventListener("dragleave", (event) => {
    if (!element.contains(event.relatedTarget)) delete element.dataset.over;
  });
  element.addEventListener("drop", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    delete element.dataset.over;
    const [file] = event.dataTransfer.files;
    if (file) take(file);
  });
}

/** A button that lets a file be chosen and calls take(file). */
function fileButton(name, take, kind = "") {
  const input = h("input", { type: "file", class: "unseen", tabindex: "-1", "aria-hidden": "true" });
  input.addEventListener("change", () => {
    const [file] = input.files;
    input.value = ""; // so that the same file can be chosen again
    if (file) take(file);
  });
  return [h("button", { type: "button", class: kind, onclick: () => input.click() }, name), input];
}

const HANDED = "charrnn-file";

/** Leave a file for the view of a new model. */
function handOver(file) {
  window[HANDED] = file;
  window.dispatchEvent(new Event(HANDED));
}

/** Call take(file) with a file that was left, or will be, until the view goes. */
function takesOver(page, take) {
  const look = () => {
    const file = window[HANDED];
    delete window[HANDED];
    if (file) take(file);
  };
  window.addEventListener(HANDED, look);
  page.onEnd(() => window.removeEventListener(HANDED, look));
  look();
}
