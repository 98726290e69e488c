// The other devices that give or take one file.
import { useLoaded } from "../core/actions.js";
import { ofFile } from "../core/api.js";
import { count, duration, percentText, rate, size } from "../core/format.js";
import { html } from "../core/html.js";
import { fill, Name } from "../core/names.js";
import { t } from "../core/texts.js";

const EVERY = 2000;
const COLUMNS = ["user", "pieces-of", "down", "up", "state-of", "since"];

/** The links for one file, read again and again. */
export const usePeers = (group, file) =>
  useLoaded(() => ofFile(group, file, "peers"), [group, file], EVERY);

const fastest = (peer) => peer.received_per_second + peer.sent_per_second;

/** The table of `peers`, as `usePeers` returns them; those that move most come first. */
export function PeersTable({ peers: { value, error }, file, title = t.peers.title }) {
  const sorted = [...(value?.peers ?? [])].sort((a, b) => fastest(b) - fastest(a));
  return html`<section><h3>${title}</h3>
    ${error && html`<p class="quiet">${error}</p>`}
    ${value && sorted.length === 0 && html`<p class="quiet">${t.peers.none}</p>`}
    ${sorted.length > 0 && html`<table class="peer-table" role="table"
        aria-label=${fill(t.peers.of, { file })}>
      <thead role="rowgroup"><tr role="row">${COLUMNS.map((key) => html`<th key=${key} scope="col"
        role="columnheader" class=${key}>${t.peers.columns[key]}</th>`)}</tr></thead>
      <tbody role="rowgroup">${sorted.map((peer) => html`<${PeerRow} key=${peer.device} peer=${peer}
        pieces=${value.pieces} />`)}</tbody>
    </table>`}
  </section>`;
}

function PeerRow({ peer, pieces }) {
  const way = wayText(peer);
  const seconds = Math.max(1, (Date.now() - peer.since_ms) / 1000);
  return html`<tr role="row">
    <td role="cell" class="user" title=${`${way}, ${peer.device}`}>
      ${peer.user === null ? html`<code>${peer.device.slice(0, 12)}</code>`
        : html`<${Name} of=${peer.user} cut />`}
      <span class="under">${way}</span></td>
    <td role="cell" class="pieces-of">${peer.pieces === null ? t.unknown : html`
      <span title=${t.peers.pieces(count(peer.pieces), count(pieces))}>
        ${percentText(peer.pieces, pieces)}</span>`}</td>
    <td role="cell" class="down">${moving(peer.received_per_second, peer.bytes_received)}</td>
    <td role="cell" class="up">${moving(peer.sent_per_second, peer.bytes_sent)}</td>
    <td role="cell" class="state-of">${states(peer).map((text) => html`<span>${text}</span>`)}</td>
    <td role="cell" class="since">${duration(seconds)}</td></tr>`;
}

/** Where the other device is, and how the two came together. */
function wayText({ relayed, punched, lan, direction, address }) {
  const from = t.peers.directions[direction](address);
  return relayed ? t.peers.relayed(address)
    : t.peers.ways[punched ? "punched" : lan ? "lan" : "direct"](from);
}

/** A rate, with the bytes so far under it. */
const moving = (now, bytes) => html`<span>${now ? rate(now) : t.unknown}</span>
  ${bytes > 0 && html`<span class="under">${size(bytes)}</span>`}`;

/** What goes on between the two. */
function states(peer) {
  const { interested, choked, peer_interested: wants, peer_choked: waits } = peer;
  const texts = [];
  if (interested) {
    texts.push(choked ? t.peers.states.weWait
      : t.peers.states.weTake(count(peer.requests), peer.requests));
  }
  if (wants) {
    texts.push(waits ? t.peers.states.itWaits
      : t.peers.states.itTakes(count(peer.peer_requests), peer.peer_requests));
  }
  return texts.length > 0 ? texts : [t.peers.states.idle];
}
