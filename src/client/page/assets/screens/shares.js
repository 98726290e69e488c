// The files that this device offers, and what it gave of them.
import { command } from "../core/api.js";
import { show } from "../core/dialogs.js";
import { count, percentText, rate, size } from "../core/format.js";
import { html, useCallback, useEffect } from "../core/html.js";
import { fill, Name, plain } from "../core/names.js";
import { Pages } from "../core/pages.js";
import { link } from "../core/route.js";
import { change, state, useStore } from "../core/store.js";
import { t } from "../core/texts.js";
import { Button, Status } from "../parts/controls.js";
import { Confirm, Dialog } from "../parts/dialog.js";
import { Facts } from "../parts/facts.js";
import { confirmRemove } from "../parts/files.js";
import { Heading } from "../parts/heading.js";
import { Icon } from "../parts/icons.js";
import { List, usePages } from "../parts/list.js";
import { PeersTable, usePeers } from "../parts/peers.js";
import { open } from "../parts/player.js";
import { Why } from "./transfer.js";

const EVERY = 3000;
const COLUMNS = ["name", "rate", "peers", "sent", "here", "actions"];

export function Shares() {
  const filesChanged = useStore((now) => now.filesChanged);
  const pages = usePages((render) => new Pages((after, limit, signal) =>
    command("show_uploads", { after, limit }, { signal }), render), []);
  const need = useCallback((first, last) => pages.need(first, last), [pages]);
  useEffect(() => {
    if (filesChanged) pages.refresh();
  }, [filesChanged]);
  useEffect(() => {
    const timer = setInterval(() => document.hidden || pages.refresh(), EVERY);
    return () => clearInterval(timer);
  }, [pages]);
  return html`<${Heading} title=${t.shares.title} />
    <p class="count" role="status">${t.shares.count(count(pages.count), pages.count)}</p>
    <${Status} loading=${pages.isLoading && pages.count === 0} error=${pages.error}
      onRetry=${() => pages.refresh()} empty=${pages.isWhole && pages.count === 0 && t.shares.none}>
      <a class="button primary" href=${link("groups")}>${t.transfers.browse}</a><//>
    ${pages.count > 0 && html`<${List} label=${t.shares.title} className="shares"
      columns=${COLUMNS.map((key) => ({ key, text: t.shares.columns[key] }))}
      count=${pages.count + (pages.isWhole ? 0 : 100)} total=${pages.isWhole ? pages.count : -1}
      heights=${[60, 84]} onRange=${need}
      row=${(at) => pages.row(at) && row(pages.row(at), pages)} />`}`;
}

const key = (share) => `${share.group_id} ${share.info_hash}`;

function row(share, pages) {
  const { group, file } = share;
  const problem = share.bad_data_members > 0 || share.unreachable;
  return {
    key: key(share),
    cells: {
      name: html`<div class="two-lines"><button type="button" class="row-link"
          onClick=${() => details(share, pages)}><${Name} of=${file} cut /></button>
        <span class="under">${problem && html`<span class="state failed">
          <${Icon} name="warning" />${" "}${t.shares.problem}</span> · `}
          <${Name} of=${group} cut /></span></div>`,
      rate: share.sent_per_second ? rate(share.sent_per_second) : "",
      peers: t.transfers.peers(count(share.peers), share.peers),
      sent: t.shares.sent(size(share.bytes_sent)),
      here: share.bytes_here === null ? t.shares.whole : t.shares.part(size(share.bytes_here)),
      actions: html`<${Button} icon="close" kind="ghost" changes
          label=${fill(t.shares.stopLabel, { file })} onClick=${() => confirmStop(group, file)} />
        <${Button} icon="info" kind="ghost" label=${fill(t.transfers.details, { file })}
          onClick=${() => details(share, pages)} />`,
    },
  };
}

function confirmStop(group, file) {
  const onDone = () => change({ filesChanged: state.filesChanged + 1 });
  show((close) => html`<${Confirm} title=${t.shares.stopTitle} name="stop_share"
    words=${{ group, file }} verb=${t.shares.stop} done=${t.shares.stopped} onDone=${onDone}
    consequences=${[fill(t.shares.stopWhat, { file, group }), t.shares.stopKeeps]}
    onClose=${close} />`);
}

function details(share, pages) {
  show((close) => html`<${ShareDetails} first=${share} pages=${pages} close=${close} />`);
}

function ShareDetails({ first, pages, close }) {
  const { group, file } = first;
  const peers = usePeers(group, file);
  // The list is read again all the time, and the table of peers has this rendered again.
  const share = pages.find((one) => key(one) === key(first)) ?? first;
  const users = new Map(peers.value?.peers.map((peer) => [peer.device, peer.user]));
  const facts = [
    [t.facts.group, html`<${Name} of=${group} />`],
    [t.facts.path, html`<${Name} of=${share.path} />`],
    [t.facts.peers, count(share.peers)],
    [t.facts.sent, t.transfers.given(size(share.bytes_sent), rate(share.sent_per_second))],
    ...(share.bytes_here === null ? [] : [[t.facts.here, size(share.bytes_here)]]),
    [t.facts.infoHash, html`<code>${share.info_hash}</code>`],
  ];
  const total = share.to.reduce((sum, one) => sum + one.bytes_sent, 0);
  return html`<${Dialog} wide title=${html`<${Name} of=${file} />`} onClose=${close}>
    ${share.bad_data_members > 0 && html`<p class="notice bad">
      ${t.shares.badData(share.bad_data_members)}</p>`}
    ${share.unreachable && html`<p class="notice bad">${t.shares.unreachable(
      share.unreachable.members, plain(share.unreachable.address))}</p>`}
    <${Facts} facts=${facts} />
    <${PeersTable} peers=${peers} file=${file} title=${t.peers.takers} />
    ${share.to.length > 0 && html`<section><h3>${t.shares.to}</h3>
      <ul class="devices-given">${share.to.map((one) => html`<li key=${one.device}>
        ${users.get(one.device) ? html`<${Name} of=${users.get(one.device)} />` : null}
        <code>${one.device.slice(0, 16)}</code><span>${size(one.bytes_sent)}</span>
        <span class="quiet">${percentText(one.bytes_sent, total)}</span></li>`)}</ul></section>`}
    <${Why} words=${{ group, file }} title=${t.shares.reports} />
    <div class="buttons">
      <${Button} icon="open" onClick=${() => open(group, file)}>${t.player.openShort}<//>
      <${Button} changes onClick=${() => confirmStop(group, file)}>${t.shares.stop}<//>
      <${Button} kind="danger-plain" changes onClick=${() => confirmRemove(group, file)}>
        ${t.files.remove}<//>
    </div>
  <//>`;
}
