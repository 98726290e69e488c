// The trackers of the network, and its key.
import { useAction } from "../core/actions.js";
import { command } from "../core/api.js";
import { show } from "../core/dialogs.js";
import { html, useState } from "../core/html.js";
import { fill, Name, rich } from "../core/names.js";
import { link } from "../core/route.js";
import { t } from "../core/texts.js";
import { retryNow } from "../core/updates.js";
import { Button, Field, FormError, Tabs } from "../parts/controls.js";
import { Copied } from "../parts/copied.js";
import { Confirm, Dialog } from "../parts/dialog.js";
import { Heading } from "../parts/heading.js";
import { Section } from "../parts/section.js";
import { Degraded, TrackerList } from "../parts/trackers.js";
import { Key } from "./key.js";

export function Trackers({ route }) {
  const tab = route[1] === "key" ? "key" : "list";
  return html`<${Heading} title=${t.trackers.title} />
    <${Tabs} label=${t.trackers.parts} current=${tab} tabs=${[
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
      <p class="hint">${t.trackers.hint}</p>
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
    <p>${t.trackers.addWhy}</p>
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
