// A new model, in two steps: its text, then how long it learns. The text goes to our server if it serves this page, in
// one request that the browser streams from the disk; elsewhere in pieces through the kernel.

const UNTIL_STOPPED = "until_stopped";
const SLICE = 400_000; // bytes of a piece that goes through the kernel
const CONVERTED = 4_000_000; // bytes that are converted at a time
const AROUND = 40; // bytes shown before and after the place where a text is wrong

/** How somebody stops what goes on, and what has to be done then. */
class Stopped extends Error {}

const cookie = (name) => document.cookie.split("; ").find((each) => each.startsWith(`${name}=`))?.slice(name.length + 1);

/** Send a file to our server. Promises the model; `cancel()` leaves nothing behind. */
function toServer(server, file, { name, id, onProgress }) {
  const request = new XMLHttpRequest();
  const promise = new Promise((resolve, reject) => {
    const query = new URLSearchParams(id ? {} : { start: "false", ...(name && { name }) });
    const api = server.api.replace(/\/$/, "");
    request.open("POST", `${api}${id ? `/models/${id}/corpus` : "/uploads"}?${query}`);
    const token = cookie("_xsrf") ?? server.xsrf;
    if (token) request.setRequestHeader("X-XSRFToken", decodeURIComponent(token));
    request.upload.onprogress = (event) => onProgress(event.loaded, event.total);
    request.onabort = () => reject(new Stopped("cancelled"));
    request.onerror = () => reject(new Error("The connection was lost before the text was there. Nothing of it is kept: try again."));
    request.onload = () => {
      let answer = null;
      try {
        answer = JSON.parse(request.responseText);
      } catch {
        // a page of a proxy, perhaps
      }
      if (request.status < 300 && answer?.id) resolve(answer);
      else reject(answer?.message ? new Refused(answer) : new Error(`The server answered ${request.status} and took nothing.`));
    };
    const form = new FormData();
    form.append("file", file, file.name);
    request.send(form);
  });
  return { promise, cancel: () => request.abort() };
}

/** The same through the kernel, for pages that no server of ours serves. */
function throughKernel(page, file, { name, id, onProgress }) {
  let stopped = false;
  const piece = (from) =>
    new Promise((resolve, reject) => {
      const reader = new FileReader();
      reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
      reader.onerror = () => reject(new Error("The file could not be read to its end."));
      reader.readAsDataURL(file.slice(from, from + SLICE));
    });
  const send = async () => {
    const most = page.state().most;
    if (file.size > most) {
      throw new Error(
        `${file.name} has ${bytes(file.size)}. On this page a text goes through the notebook, which takes up to ${bytes(most)}. ` +
          `For a larger one, start the server (jupyter charrnn), or write in a notebook: charrnn.Workspace().create("name", "the/file.txt")`,
      );
    }
    await page.ask("begin_text", { name: file.name, size: file.size, id });
    for (let from = 0; from < file.size && !stopped; from += SLICE) {
      await page.ask("take_text", { piece: await piece(from) });
      onProgress(Math.min(from + SLICE, file.size), file.size);
    }
    if (stopped) throw new Stopped("cancelled");
    await page.ask("end_text", { name, id });
    return null;
  };
  return {
    promise: send(),
    cancel: () => {
      stopped = true;
      page.ask("cancel_text").catch(() => {});
    },
  };
}

/** The encoding a refusal names, as browsers call it; null if there is none that could be converted. */
function encodingOf(message) {
  const [, named] = /iconv -f (WINDOWS-1252|UTF-16LE|UTF-16BE)\b/.exec(message) ?? [];
  return named ? named.toLowerCase() : null;
}

/** A file as UTF-8. It is read in pieces, which the browser keeps on disk when they are many. */
async function converted(file, encoding, goOn) {
  const decoder = new TextDecoder(encoding, { fatal: true });
  const parts = [];
  for (let from = 0; from < file.size; from += CONVERTED) {
    goOn(from, file.size);
    const piece = await file.slice(from, from + CONVERTED).arrayBuffer();
    parts.push(new Blob([decoder.decode(piece, { stream: from + CONVERTED < file.size })]));
  }
  return new File(parts, file.name, { type: "text/plain" });
}

/** What stands around the byte that a refusal names, as it would read in that encoding. */
async function around(file, encoding, message) {
  const [, place] = /byte ([\d,]+)/.exec(message) ?? [];
  const at = place ? Number(place.replaceAll(",", "")) : 0;
  const wide = encoding.startsWith("utf-16");
  const from = Math.max(0, wide ? Math.floor((at - AROUND) / 2) * 2 : at - AROUND);
  const piece = await file.slice(from, at + AROUND + (at + AROUND - from) % 2).arrayBuffer();
  return new TextDecoder(encoding).decode(piece).replace(/\s+/g, " ").trim();
}

/** What to expect of a budget: of the time itself, and for this text. */
function expectation(budget, reads) {
  if (budget === UNTIL_STOPPED) return "Goes on until you press Stop. The best state so far is kept.";
  const time =
    budget < 3 ? "A first look: words and lines begin to form." :
    budget < 10 ? "The usual choice: at first sight it reads like your text." :
    budget < 30 ? "Steadier sentences, and fewer words that do not exist." :
    "The last bit of quality. Worth it for texts of several megabytes.";
  if (reads === null || reads === undefined || reads >= 100) return time;
  if (reads >= 1.5) return `${time} It reads the text about ${number(reads)} times.`;
  if (reads >= 0.75) return `${time} It reads the text about once.`;
  if (reads < 0.01) return `${time} There is time to read less than 1 % of the text.`;
  return `${time} There is time to read about ${number(100 * reads)} % of the text.`;
}

/** What is to be said of all budgets. */
const shortText = (reads) =>
  reads[0] >= 100 ? "A text this short is read so often that the model will know much of it by heart. One minute is plenty." : "";

const minutes = (count) => (count === 1 ? "1 minute" : `${number(count, Number.isInteger(count) ? 0 : 1)} minutes`);

/** The report on a text. */
function reportOn(report) {
  const most = Math.max(1, ...report.commonest.map(([, times]) => times));
  const figure = (value, name) => h("p", { class: "number" }, h("strong", {}, value), " ", name);
  const bar = ([character, times]) =>
    h("li", {},
      h("span", { class: "character" }, visible(character)),
      h("span", { class: "track", "aria-hidden": "true" }, h("span", { class: "bar", style: `width:${(100 * times) / most}%` })),
      h("span", { class: "figure share" }, `${number((100 * times) / report.characters, 1)} %`));
  return [
    h("div", { class: "numbers" },
      figure(number(report.characters), "characters"),
      figure(number(report.distinct), "different ones"),
      figure(bytes(report.bytes), "file size")),
    report.warnings.length > 0 &&
      h("ul", { class: "warnings", "aria-label": "Good to know" }, report.warnings.map((warning) => h("li", {}, warning))),
    h("div", { class: "two" },
      h("div", {}, h("h3", {}, "The commonest characters"), h("ul", { class: "histogram" }, report.commonest.map(bar))),
      h("div", {}, h("h3", {}, "How it begins"),
        h("div", { class: "written preview", tabindex: "0", role: "region", "aria-label": "How the text begins" },
          report.preview.split("\n").map((line) => h("div", { dir: "auto" }, line || "\u200b"))))),
  ];
}

/** The fields behind "Advanced". `values()` is what stands in them, `complain(fields)` says what is wrong there. */
function advancedFields() {
  const boxes = new Map();
  const element = h("details", { class: "advanced" }, h("summary", {}, "Advanced: every option"));
  const build = (groups) => {
    for (const { title, fields } of groups) {
      element.append(h("fieldset", {}, h("legend", {}, title), h("div", { class: "fields" }, fields.map((each) => {
        const control =
          each.words.length ? h("select", { "data-usual": each.usual }, each.words.map((word) => h("option", { value: word }, word))) :
          each.kind === "string" ? h("textarea", { rows: 2, placeholder: each.usual, spellcheck: "false" }) :
          h("input", { type: "text", inputmode: each.kind === "integer" ? "numeric" : "decimal", placeholder: each.usual, autocomplete: "off" });
        control.name = each.name;
        const box = field(each.label, control, each.about);
        boxes.set(each.name, { box, control, usual: each.words.length ? each.usual : "" });
        return box;
      }))));
    }
  };
  return {
    element,
    boxes,
    build,
    fill(options) {
      for (const [name, { box, control, usual }] of boxes) {
        control.value = options[name] ?? usual;
        box.complain("");
      }
      element.open = Object.keys(options).some((name) => boxes.has(name));
    },
    values: () => Object.fromEntries([...boxes].map(([name, { control, usual }]) => [name, control.value === usual ? "" : control.value])),
    complain(fields) {
      let first = null;
      for (const [name, { box, control }] of boxes) {
        box.complain(fields[name] ?? "");
        if (fields[name]) first ??= control;
      }
      if (first) element.open = true;
      return first;
    },
  };
}

export default {
  render: view((page) => {
    let sending = null; // { cancel } of what is on its way
    let replacing = false; // another text is wanted for the model that is shown
    let shownId = null;
    let shownReport = null;
    let built = false;

    const heading = h("h2", { tabindex: "-1" }, "New model");
    const name = h("input", { type: "text", maxlength: 200, autocomplete: "off", placeholder: "Called like its text", dir: "auto" });
    const naming = field("Name", name);
    naming.classList.add("naming");

    // the first step: its text

    const [choose, input] = fileButton("Choose a file", (file) => take(file), "primary");
    const zone = h("div", { class: "zone" },
      h("p", { class: "large" }, "Drop a text file here"),
      h("p", { class: "quiet" }, "Plain text in any language, from a page to a gigabyte. It goes nowhere else."),
      h("div", { class: "row" }, choose, input));
    const pasted = h("textarea", { rows: 6, dir: "auto" });
    const pasting = field("Or paste a text", pasted);
    const use = h("button", { type: "button", onclick: () => {
      if (!pasted.value.trim()) {
        pasting.complain("There is no text in it yet.");
        pasted.focus();
        return;
      }
      pasting.complain("");
      take(new File([pasted.value], "Pasted text.txt", { type: "text/plain" }));
    } }, "Use this text");
    const samples = h("ul", { class: "samples" });
    const picker = h("div", { class: "picker" }, zone,
      h("div", { class: "two" },
        h("div", {}, pasting, h("div", { class: "row use" }, use)),
        h("div", {}, h("h3", {}, "Or take a sample"), samples)));

    // while it comes

    const bar = h("progress", { max: 1, "aria-label": "Upload" });
    const words = h("p", { class: "words" });
    const cancel = h("button", { type: "button", onclick: () => sending?.cancel() }, "Cancel");
    const coming = h("div", { class: "card coming", hidden: true }, words, bar, h("div", { class: "row" }, cancel));
    const onProgress = (loaded, total) => {
      if (total > 0) bar.value = loaded / total;
      words.textContent = loaded < total ? `${shownFile}: ${bytes(loaded)} of ${bytes(total)}` : `${shownFile}: reading its characters …`;
      if (loaded >= total) bar.removeAttribute("value");
    };
    let shownFile = "";

    // what was wrong with it

    const refused = h("div", { class: "refused", role: "alert", tabindex: "-1", hidden: true });
    const refuse = async (error, file) => {
      const encoding = file && encodingOf(error.message);
      refused.replaceChildren(h("p", { class: "problem" }, error.message));
      refused.hidden = false;
      if (!encoding) return;
      const called = encoding === "windows-1252" ? "Windows-1252" : "UTF-16";
      const convert = h("button", { type: "button", class: "primary", onclick: () => take(file, encoding) }, "Convert it and go on");
      const excerpt = await around(file, encoding, error.message);
      refused.replaceChildren(
        h("div", { class: "card" },
          h("p", {}, `${file.name} is written in ${called}. It can be converted here: your file stays as it is.`),
          excerpt && h("p", { class: "quiet" }, `Read as ${called}, it says there:`),
          excerpt && h("p", { class: "written", dir: "auto" }, `… ${excerpt} …`),
          h("div", { class: "row" }, convert),
          h("p", { class: "hint" }, error.message)));
      convert.focus();
    };

    const stage = (busy) => {
      coming.hidden = !busy;
      refused.hidden = refused.hidden || busy;
      render(page.state());
    };

    /** Hand a file over, after a conversion if its encoding is given. */
    const take = async (file, encoding = null) => {
      if (sending) {
        page.trouble("One text at a time: wait until this one is there, or cancel it.");
        return;
      }
      let stopped = false;
      let again = false;
      sending = { cancel: () => (stopped = true) };
      shownFile = file.name;
      page.trouble(null);
      refused.hidden = true;
      cancel.hidden = false;
      bar.value = 0;
      words.textContent = `${file.name}: ${bytes(file.size)}`;
      stage(true);
      cancel.focus();
      const id = replacing || !page.state().chosen?.report ? (page.state().chosen?.id ?? null) : null;
      try {
        let text = file;
        if (encoding) {
          text = await converted(file, encoding, (done, total) => {
            if (stopped) throw new Stopped("cancelled");
            bar.value = done / total;
            words.textContent = `${file.name}: converted ${bytes(done)} of ${bytes(total)}`;
          });
        }
        if (stopped) throw new Stopped("cancelled");
        const server = served();
        const wanted = { name: name.value.trim(), id, onProgress };
        sending = server ? toServer(server, text, wanted) : throughKernel(page, text, wanted);
        const model = await sending.promise;
        if (model) await page.ask("arrived", { id: model.id });
        arrived();
      } catch (error) {
        if (error instanceof Stopped) {
          page.say("Cancelled. Nothing of it was kept.");
          again = true;
        } else await refuse(error instanceof TypeError ? new Error(`${file.name} cannot be read as ${encoding}.`) : error, encoding ? null : file);
      } finally {
        sending = null;
        stage(false);
        if (again) choose.focus();
        else if (!refused.hidden && !refused.contains(document.activeElement)) refused.focus();
      }
    };

    const takeSample = async (each) => {
      if (sending) return;
      sending = { sample: true, cancel: () => page.ask("cancel_sample").catch(page.trouble) };
      shownFile = each.name;
      page.trouble(null);
      refused.hidden = true;
      cancel.hidden = false;
      bar.removeAttribute("value");
      words.textContent = each.fetched ? `${each.name}: it is being fetched …` : `${each.name}: it is being put together …`;
      stage(true);
      cancel.focus();
      let again = false;
      try {
        await page.ask("sample", { sample: each.name, name: name.value.trim(), id: page.state().chosen?.id ?? null });
        arrived();
      } catch (error) {
        again = error.reason === "Cancelled";
        if (again) page.say("Cancelled. Nothing of it was kept.");
        else await refuse(error, null);
      } finally {
        sending = null;
        stage(false);
        if (again) choose.focus();
        else if (!refused.hidden) refused.focus();
      }
    };

    const arrived = () => {
      replacing = false;
      pasted.value = "";
      refused.hidden = true;
      page.say("The text is there. Here is what is in it.");
    };

    // the second step: how long

    const report = h("div", { class: "report" });
    const title = h("h3", { class: "title", tabindex: "-1" });
    const another = h("button", { type: "button", class: "plain", onclick: () => {
      replacing = true;
      render(page.state());
      choose.focus();
    } }, "Take another text");
    const back = h("button", { type: "button", class: "plain back", hidden: true, onclick: () => {
      replacing = false;
      refused.hidden = true;
      render(page.state());
      title.focus();
    } }, "Keep the text it has");
    const note = h("p", { class: "quiet" });
    const radios = h("div", { class: "budgets" });
    const budgetWrong = h("p", { class: "wrong", id: unique("wrong"), hidden: true });
    const budgets = h("fieldset", { class: "long" }, h("legend", {}, "How long may it learn?"), note, radios, budgetWrong);
    const advanced = advancedFields();
    const wrong = h("p", { class: "problem", role: "alert", hidden: true });
    const start = h("button", { type: "submit", class: "primary" }, "Start learning");
    const later = h("button", { type: "button", onclick: () =>
      page.during(later, page.ask("leave", { id: page.state().chosen?.id ?? null, name: name.value })) }, "Not now, keep it in the list");
    const submit = async (event) => {
      event.preventDefault();
      wrong.hidden = budgetWrong.hidden = true;
      naming.complain("");
      const given = { id: page.state().chosen.id, name: name.value, budget: String(budget()), options: advanced.values() };
      start.disabled = true;
      start.setAttribute("aria-busy", "true");
      try {
        await page.ask("start", given);
      } catch (error) {
        const { name: nameWrong, minutes: long, until_stopped: endless, ...others } = error.fields ?? {};
        if (nameWrong) naming.complain(nameWrong);
        if (long || endless) {
          budgetWrong.textContent = long ?? endless;
          budgetWrong.hidden = false;
        }
        const first = advanced.complain(others);
        const placed = nameWrong || long || endless || first;
        wrong.textContent = placed ? "Something in the form is not right yet." : error.message;
        wrong.hidden = false;
        (nameWrong ? name : long || endless ? radios.querySelector("input:checked") : (first ?? start)).focus();
      } finally {
        start.disabled = false;
        start.removeAttribute("aria-busy");
      }
    };
    const form = h("form", { class: "second", hidden: true, novalidate: true, onsubmit: submit },
      h("div", { class: "card" }, h("div", { class: "spread" }, title, another), report),
      budgets, advanced.element, wrong, h("div", { class: "row finish" }, start, later));
    const group = unique("budget");
    const budget = () => radios.querySelector("input:checked")?.value;
    const busy = h("div", { class: "card", hidden: true });

    const build = (state) => {
      built = true;
      samples.replaceChildren(...state.samples.map((each) =>
        h("li", {},
          h("div", {}, h("strong", {}, each.name), h("p", { class: "hint" }, each.about, each.fetched && ". It is downloaded when you take it.")),
          h("button", { type: "button", "aria-label": `Take the sample ${each.name}`, onclick: () => takeSample(each) }, each.fetched ? "Download and use" : "Use"))));
      advanced.build(state.groups);
    };

    const showBudgets = (state, reads) => {
      note.textContent = shortText(reads);
      note.hidden = !note.textContent;
      const before = budget() ?? "3";
      const values = state.budgets.map(String);
      const chosen = values.includes(before) ? before : values.includes("3") ? "3" : values[0];
      radios.replaceChildren(...state.budgets.map((each, index) => {
        const about = h("span", { class: "hint", id: unique("hint") }, expectation(each, reads[index]));
        const radio = h("input", { type: "radio", name: group, value: String(each), checked: String(each) === chosen, "aria-describedby": about.id, id: unique("radio") });
        return h("div", { class: "budget" }, radio, h("label", { for: radio.id }, each === UNTIL_STOPPED ? "Until I stop it" : minutes(each)), about);
      }));
    };

    const render = (state) => {
      if (!state.groups) return;
      if (!built) build(state);
      if (sending?.sample && state.there > 0) bar.value = state.there;
      const chosen = state.chosen ?? null;
      if ((chosen?.id ?? null) !== shownId) {
        shownId = chosen?.id ?? null;
        shownReport = null;
        replacing = false;
        name.value = chosen?.name ?? "";
        advanced.fill(chosen?.options ?? {});
        wrong.hidden = true;
        naming.complain("");
      }
      const active = chosen && !["draft", "ready"].includes(chosen.status);
      const second = Boolean(chosen?.report) && !replacing && !sending && !active;
      heading.textContent = !chosen ? "New model" : !chosen.report ? "A text for your model" : replacing ? "Another text" : "Ready to learn";
      naming.hidden = Boolean(sending) || active;
      picker.hidden = Boolean(sending) || second || active;
      form.hidden = !second;
      back.hidden = !(replacing && !sending);
      busy.hidden = !active;
      if (active) {
        busy.replaceChildren(
          h("p", {}, h("strong", { dir: "auto" }, chosen.name), ` is ${chosen.status}.`),
          h("div", { class: "row" },
            h("button", { type: "button", class: "primary", onclick: () => page.go("training", chosen.id) }, "Show its training"),
            h("button", { type: "button", onclick: () => page.ask("leave").catch(page.trouble) }, "Back to all models")));
      }
      const told = JSON.stringify(chosen?.report ?? null);
      if (second && told !== shownReport) {
        shownReport = told;
        title.textContent = chosen.report.name;
        report.replaceChildren(...reportOn(chosen.report).filter(Boolean));
        showBudgets(state, chosen.reads);
        if (page.root.contains(document.activeElement) || document.activeElement === document.body) title.focus();
      }
    };

    page.root.classList.add("new-model");
    page.root.append(heading, naming, coming, refused, back, picker, busy, form);
    const loading = h("p", { class: "quiet", role: "status" }, "One moment …");
    page.root.append(loading);
    page.onState((state) => {
      loading.hidden = Boolean(state.groups);
      for (const each of [naming, picker]) each.hidden = !state.groups;
      render(state);
    });
    dropsOn(page.root, (file) => {
      if (page.state().chosen?.report) replacing = true;
      take(file);
    });
    takesOver(page, (file) => {
      if (page.state().chosen) page.ask("leave").then(() => page.go("new")).then(() => take(file));
      else take(file);
    });
    page.onEnd(() => sending?.cancel());
  }),
};
