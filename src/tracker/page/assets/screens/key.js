// The network's key is replaced step by step.
import { act, useLoaded } from "../core/actions.js";
import { ask } from "../core/api.js";
import { show } from "../core/dialogs.js";
import { html } from "../core/html.js";
import { fill, Name } from "../core/names.js";
import { t } from "../core/texts.js";
import { Button, Status } from "../parts/controls.js";
import { Confirm } from "../parts/dialog.js";
import { Facts } from "../parts/facts.js";
import { Icon } from "../parts/icons.js";
import { Section } from "../parts/section.js";

const EVERY = 10000;

/** Puts the lines of `rotate_key` together. */
async function readKey() {
  const { lines } = await ask("rotate_key");
  const holders = lines.filter(({ tracker }) => tracker !== undefined);
  const { network, next_key: next, stage, old, new: fresh } = Object.assign({}, ...lines);
  return { network, next, stage, old, fresh, holders };
}

export function Key() {
  const { value, error, loading, reload } = useLoaded(readKey, [], EVERY);
  return html`<p class="quiet">${t.key.why}</p>
    <p class="notice">${t.key.leaked}</p>
    <${Status} loading=${loading} error=${error} onRetry=${reload} />
    ${value && html`<${Section} name="key"><${Facts} facts=${[
        [t.key.network, html`<code>${value.network}</code>`],
        [t.key.next, html`<${Name} of=${value.next} />`],
        [t.key.stage, t.key.stages[value.stage ?? "none"] ?? value.stage],
      ]} /><//>
      <${Steps} now=${value} reload=${reload} />`}`;
}

function Step({ number, name, isDone, isNext, children }) {
  return html`<li class=${`step ${isDone ? "done" : isNext ? "next" : ""}`}
    aria-current=${isNext ? "step" : undefined}>
    <span class="step-number" aria-hidden="true">
      ${isDone ? html`<${Icon} name="check" />` : number}</span>
    <div><h3>${t.key.steps[name].title}
        ${isDone && html`<span class="hidden"> ${t.key.isDone}</span>`}</h3>
      <p>${t.key.steps[name].text}</p>${children}</div></li>`;
}

function Steps({ now, reload }) {
  const isBegun = now.stage === "begun";
  const found = /^(sha256:[0-9a-f]{64}) in /.exec(now.next)?.[1];
  // The file of a key that is in use already is no next key.
  const hasNext = Boolean(found) && found !== now.network;
  const missing = now.holders.filter((one) => !one.holds_new_key);
  const allHold = isBegun && missing.length === 0;
  const run = (step, done) => async () => {
    await act("rotate_key", { step }, done);
    reload();
  };
  const confirm = (step, agree) => () => confirmStep(step, agree, now, reload);
  const isNext = { make: !isBegun && !hasNext, begin: !isBegun && hasNext, end: allHold };
  return html`<${Section} name="rotation"><ol class="key-steps">
    <${Step} number="1" name="make" isDone=${isBegun || hasNext} isNext=${isNext.make}>
      <${Button} changes kind=${isNext.make ? "primary" : "plain"} disabled=${isBegun}
        onClick=${run("make", t.key.made)}>${t.key.make}<//><//>
    <${Step} number="2" name="copy" isDone=${allHold} isNext=${isBegun && !allHold}>
      <${Holders} now=${now} reload=${reload} /><//>
    <${Step} number="3" name="begin" isDone=${isBegun} isNext=${isNext.begin}>
      <${Button} changes kind=${isNext.begin ? "primary" : "plain"} disabled=${!isNext.begin}
        onClick=${confirm("begin")}>${t.key.begin}<//><//>
    <${Step} number="4" name="wait" isNext=${allHold} />
    <${Step} number="5" name="end" isNext=${false}>
      <div class="buttons">
        <${Button} changes kind="danger-plain" disabled=${!isNext.end}
          onClick=${confirm("end", true)}>${t.key.end}<//>
        <${Button} changes disabled=${!isBegun} onClick=${confirm("cancel")}>${t.key.cancel}<//>
      </div><//>
    <${Step} number="6" name="move" />
  </ol><//>`;
}

/** Which trackers have said that they hold the new key. */
function Holders({ now, reload }) {
  if (now.holders.length === 0) return null;
  return html`<ul class="holders">${now.holders.map(({ tracker, holds_new_key: holds }) =>
    html`<li key=${tracker}><span class=${`dot ${holds ? "good" : "middling"}`}></span>
      ${t.key.holder(tracker, holds)}</li>`)}</ul>
    <${Button} kind="small" icon="reload" onClick=${reload}>${t.key.look}<//>`;
}

function confirmStep(step, mustAgree, now, reload) {
  const next = /^(sha256:[0-9a-f]{64}) in /.exec(now.next)?.[1];
  const words = { old: now.old ?? now.network, new: now.fresh ?? next ?? "", step };
  const texts = t.key.confirm[step];
  show((close) => html`<${Confirm} title=${texts.title} words=${words} name="rotate_key"
    verb=${texts.verb} done=${texts.done} agree=${mustAgree && texts.agree} onDone=${reload}
    consequences=${texts.what.map((line) => fill(line, words))} onClose=${close} />`);
}
