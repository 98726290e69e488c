// The trackers of the network, and how its key is replaced step by step.
import { act, useAction, useLoaded } from "../core/actions.js";
import { ask, command } from "../core/api.js";
import { show } from "../core/dialogs.js";
import { html, useState } from "../core/html.js";
import { fill, Name, rich } from "../core/names.js";
import { link } from "../core/route.js";
import { t } from "../core/texts.js";
import { retryNow } from "../core/updates.js";
import { Button, Field, FormError, Status, Tabs } from "../parts/controls.js";
import { Copied } from "../parts/confirm.js";
import { Confirm, Dialog } from "../parts/dialog.js";
import { Facts } from "../parts/facts.js";
import { Heading } from "../parts/heading.js";
import { Icon } from "../parts/icons.js";
import { Section } from "../parts/section.js";
import { Degraded, TrackerList } from "../parts/trackers.js";

export function Trackers({ route }) {
  const tab = route[1] === "key" ? "key" : "list";
  return html`<${Heading} title=${t.trackers.title} />
    <${Tabs} label=${t.parts} current=${tab} tabs=${[
      ["list", t.trackers.list, link("trackers")],
      ["key", t.trackers.key, link("trackers", "key")],
    ]} />
    ${tab === "key" ? html`<${Key} />` : html`<${Others} />`}`;
}

function Others() {
  const add = () => show((close) => html`<${AddTracker} close=${close} />`);
  const actions = (tracker) => html`<${Button} kind="small danger-plain" changes
    aria-label=${t.trackers.removeLabel(tracker.number)}
    onClick=${() => confirmRemove(tracker)}>${t.trackers.remove}<//>`;
  return html`<div role="status" class="connection"><${Degraded} /></div>
    <${Section} name="trackers"><${TrackerList} actions=${actions} />
      <${Button} icon="plus" changes onClick=${add}>${t.trackers.add}<//><//>`;
}

function AddTracker({ close }) {
  const [address, setAddress] = useState("");
  const [added, setAdded] = useState(null);
  const { busy, error, run } = useAction();
  const submit = () => run(async () => {
    setAdded(await command("add_tracker", { address: address.trim() }));
    retryNow();
  });
  if (added) return html`<${AddedTracker} added=${added} close=${close} />`;
  return html`<${Dialog} title=${t.trackers.add} onClose=${close} onSubmit=${submit}
    actions=${html`<${Button} onClick=${close}>${t.cancel}<//>
      <${Button} type="submit" kind="primary" changes busy=${busy}
        disabled=${busy || !address.trim()}>${t.trackers.addShort}<//>`}>
    <${Field} label=${t.trackers.address} hint=${t.trackers.addressHint} value=${address}
      onInput=${setAddress} maxlength="260" autocomplete="off" data-first />
    <ul class="consequences">${t.trackers.addWhat.map((line) => html`<li>${line}</li>`)}</ul>
    <${FormError} error=${error} />
  <//>`;
}

function AddedTracker({ added, close }) {
  const start = `tracker tracker_info.txt ${added.number} --network-key network.key`;
  return html`<${Dialog} title=${t.trackers.added(added.number)} onClose=${close}
    actions=${html`<${Button} kind="primary" onClick=${close}>${t.close}<//>`}>
    <p>${rich(t.trackers.addedWhere, { address: added.address })}</p>
    <ol class="steps">
      <li>${t.trackers.addedKey}</li>
      <li>${t.trackers.addedInfo}<${Copied} text=${added.tracker_info} /></li>
      <li>${t.trackers.addedStart}<pre><code>${start}</code></pre></li>
    </ol>
    <p>${t.trackers.addedOthers}</p><//>`;
}

function confirmRemove({ number, address }) {
  const words = { number, address };
  const onDone = () => {
    retryNow();
    show((close) => html`<${Dialog} title=${t.trackers.removed(number)} onClose=${close}
      actions=${html`<${Button} kind="primary" onClick=${close}>${t.close}<//>`}>
      <p>${html`<${Name} of=${address} />`} ${t.trackers.removedThen}</p>
      <p>${t.trackers.removedLine}</p><//>`);
  };
  show((close) => html`<${Confirm} title=${t.trackers.removeTitle(number)} words=${words}
    name="remove_tracker" verb=${t.trackers.remove} onDone=${onDone} onClose=${close}
    consequences=${t.trackers.removeWhat.map((line) => fill(line, words))} />`);
}

const EVERY = 10000;

/** Puts the lines of `rotate_key` together. */
async function readKey() {
  const { lines } = await ask("rotate_key");
  const holders = lines.filter(({ tracker }) => tracker !== undefined);
  const { network, next_key: next, stage, old, new: fresh } = Object.assign({}, ...lines);
  return { network, next, stage, old, fresh, holders };
}

function Key() {
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

/** The fingerprint of the key in the file for the new one. */
const fileKey = (now) => /^(sha256:[0-9a-f]{64}) in /.exec(now.next)?.[1];

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
  const found = fileKey(now);
  // After the end the file holds the key that is in use.
  const mustMove = found === now.network;
  const hasNext = Boolean(found) && !mustMove;
  const missing = now.holders.filter((one) => !one.holds_new_key);
  const allHold = isBegun && missing.length === 0;
  const run = (step, done) => async () => {
    await act("rotate_key", { step }, done);
    reload();
  };
  const confirm = (step, agree) => () => confirmStep(step, agree, now, reload);
  const isNext = { make: !isBegun && !found, begin: !isBegun && hasNext, end: allHold };
  return html`<${Section} name="rotation"><ol class="key-steps">
    <${Step} number="1" name="make" isDone=${isBegun || hasNext} isNext=${isNext.make}>
      <${Button} changes kind=${isNext.make ? "primary" : "plain"} disabled=${isBegun || mustMove}
        onClick=${run("make", t.key.made)}>${t.key.make}<//><//>
    <${Step} number="2" name="copy" isDone=${allHold} isNext=${isBegun && !allHold}>
      <${Holders} now=${now} reload=${reload} /><//>
    <${Step} number="3" name="begin" isDone=${isBegun} isNext=${isNext.begin}>
      <${Button} changes kind=${isNext.begin ? "primary" : "plain"} disabled=${!isNext.begin}
        onClick=${confirm("begin")}>${t.key.begin}<//><//>
    <${Step} number="4" name="wait" isNext=${allHold} />
    <${Step} number="5" name="end">
      <div class="buttons">
        <${Button} changes kind="danger-plain" disabled=${!isNext.end}
          onClick=${confirm("end", true)}>${t.key.end}<//>
        <${Button} changes disabled=${!isBegun} onClick=${confirm("cancel")}>${t.key.cancel}<//>
      </div><//>
    <${Step} number="6" name="move" isNext=${mustMove} />
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
  const words = { old: now.old ?? now.network, new: now.fresh ?? fileKey(now) ?? "", step };
  const texts = t.key.confirm[step];
  show((close) => html`<${Confirm} title=${texts.title} words=${words} name="rotate_key"
    verb=${texts.verb} done=${texts.done} agree=${mustAgree && texts.agree} onDone=${reload}
    consequences=${texts.what.map((line) => fill(line, words))} onClose=${close} />`);
}
