// The details of one download, and everything that can be done with it.
import { act, useAction, useLoaded } from "../core/actions.js";
import { command } from "../core/api.js";
import { show } from "../core/dialogs.js";
import { count, percentText, rate, readRate, size, writeRate } from "../core/format.js";
import { html, useState } from "../core/html.js";
import { fill, Name } from "../core/names.js";
import { useStore } from "../core/store.js";
import { t } from "../core/texts.js";
import { Bar, Button, Field, FormError } from "../parts/controls.js";
import { Confirm, Dialog } from "../parts/dialog.js";
import { Facts } from "../parts/facts.js";
import { PeersTable, usePeers } from "../parts/peers.js";
import { PiecesMap } from "../parts/pieces_map.js";
import { open } from "../parts/player.js";
import { left, peersText, stateText } from "../parts/transfer_text.js";

const WHY_EVERY = 4000;

export function TransferDialog({ hash, close }) {
  const download = useStore((state) => state.downloads.get(hash));
  if (!download) {
    return html`<${Dialog} title=${t.transfers.gone} onClose=${close}>
      <p>${t.transfers.goneWhy}</p><//>`;
  }
  const { group, file, state } = download;
  const words = { group, file };
  const goes = state === "running" || state === "queued";
  const part = download.size ? download.bytes_done / download.size : Number(state === "complete");
  const facts = [
    [t.facts.state, stateText(download)],
    [t.facts.group, html`<${Name} of=${group} />`],
    [t.facts.path, html`<${Name} of=${download.path} />`],
    [t.facts.done, t.transfers.done(percentText(download.bytes_done, download.size),
      size(download.bytes_done), size(download.size))],
    ...(state === "running" ? [
      [t.facts.rate, rate(download.bytes_per_second)],
      [t.facts.left, left(download)],
      [t.facts.peers, peersText(download, count(download.peers))],
    ] : []),
    ...(download.bytes_sent > 0 ? [[t.facts.sent,
      t.transfers.given(size(download.bytes_sent), rate(download.sent_per_second))]] : []),
    [t.facts.infoHash, html`<code>${download.info_hash}</code>`],
  ];
  return html`<${Dialog} wide title=${html`<${Name} of=${file} />`} onClose=${close}>
    <${Bar} part=${part} kind=${state} label=${fill(t.transfers.progress, { file })} />
    <${Facts} facts=${facts} />
    <div class="buttons">
      ${goes && html`<${Button} icon="pause" changes
        onClick=${() => act("pause_download", words)}>${t.transfers.pauseShort}<//>`}
      ${(state === "paused" || state === "failed") && html`<${Button} icon="play" changes
        kind="primary" onClick=${() => act("resume_download", words)}>
        ${t.transfers.resumeShort}<//>`}
      ${state !== "complete" && state !== "failed" && html`<${Button} icon="first" changes
        onClick=${() => act("prioritize", words, t.transfers.isFirst)}>${t.transfers.first}<//>`}
      ${state !== "failed" && html`<${Button} icon="open" onClick=${() => open(group, file)}>
        ${t.player.openShort}<//>`}
      ${state !== "complete" && html`<${Button} icon="close" kind="danger-plain" changes
        onClick=${() => confirmCancel(download)}>${t.transfers.cancel}<//>`}
    </div>
    ${state !== "failed" && html`<${PiecesMap} group=${group} file=${file} />
      <${Peers} group=${group} file=${file} />`}
    ${state !== "complete" && html`<${Why} words=${words} /><${OwnLimit} download=${download} />`}
  <//>`;
}

function Peers({ group, file }) {
  return html`<${PeersTable} peers=${usePeers(group, file)} file=${file} />`;
}

function confirmCancel({ group, file, bytes_done: done }) {
  show((close) => html`<${Confirm} title=${t.transfers.cancelTitle} name="cancel_download"
    words=${{ group, file }} verb=${t.transfers.cancel} done=${t.transfers.cancelled}
    consequences=${[fill(t.transfers.cancelWhat, { file }), t.transfers.cancelLoses(size(done))]}
    onClose=${close} />`);
}

/** Says why a download does not move. */
export function Why({ words, title = t.why.title }) {
  const { value, error } = useLoaded(() => command("why", words), [], WHY_EVERY);
  return html`<section class="why"><h3>${title}</h3>
    ${error && html`<p class="quiet">${error}</p>`}
    ${value && !error && html`<ul>
      ${value.map((line) => html`<li><${Name} of=${line} /></li>`)}</ul>`}
    ${value?.length === 0 && html`<p class="quiet">${t.why.nothing}</p>`}
  </section>`;
}

function OwnLimit({ download }) {
  const [text, setText] = useState(writeRate(download.limit));
  const { busy, error, run, setError } = useAction();
  const save = () => {
    const limit = readRate(text);
    if (limit === undefined) return setError(t.limits.invalid);
    const { group, file } = download;
    return run(() => command("limit_download", { group, file, limit }));
  };
  return html`<section><h3>${t.limits.own}</h3>
    <div class="with-button">
      <${Field} label=${t.limits.ownLabel} hint=${t.limits.hint} value=${text} onInput=${setText}
        autocomplete="off" placeholder=${t.limits.none} onKeyDown=${(event) => {
          if (event.key === "Enter") {
            event.preventDefault();
            save();
          }
        }} />
      <${Button} changes busy=${busy} onClick=${save}>${t.limits.set}<//></div>
    <${FormError} error=${error} /></section>`;
}
