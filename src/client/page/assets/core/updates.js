// Applies the client's events to the state.
import { listen } from "./events.js";
import { noteTraffic } from "./rates.js";
import { change, moveDownload, noteChange, state } from "./store.js";
import { t } from "./texts.js";
import { toast } from "./toasts.js";

let stream = null;

export function startUpdates() {
  stream ??= listen(apply, (connection) => {
    if (connection !== state.connection) change({ connection });
  });
  stream.retry();
}

export function stopUpdates() {
  stream?.stop();
  stream = null;
}

export const retryNow = () => stream?.retry();

const handlers = {
  snapshot({ snapshot }) {
    const { downloads, account, session_ended, traffic, ...client } = snapshot;
    noteTraffic(traffic);
    // Changes of groups may have been missed.
    const missed = state.phase === "open" ? 1 : 0;
    // Downloads that were completed while the page was open stay listed.
    const before = [...state.downloads.values()].filter((download) =>
      download.state === "complete" && account?.user_id === state.account?.user_id);
    const listed = [...before, ...downloads].map((download) => [download.info_hash, download]);
    change({
      phase: "open", client, account, sessionEnded: session_ended, downloads: new Map(listed),
      groupsChanged: state.groupsChanged + 1, endsChanged: state.endsChanged + 1,
      filesChanged: state.filesChanged + missed,
    });
  },
  traffic({ traffic }) {
    noteTraffic(traffic);
  },
  group_changed({ group_id: group, files, members }) {
    if (files) noteChange("files", group);
    if (members) {
      noteChange("members", group);
      change({ groupsChanged: state.groupsChanged + 1 });
    }
  },
  download({ download }) {
    const before = state.downloads.get(download.info_hash);
    moveDownload(download);
    if (before?.state !== download.state) change({ endsChanged: state.endsChanged + 1 });
  },
  download_gone({ info_hash }) {
    state.downloads.delete(info_hash);
    change({ downloads: new Map(state.downloads), endsChanged: state.endsChanged + 1 });
  },
  logged_in(event) {
    const account = event.account ?? event;
    change({ account, sessionEnded: null, groupsChanged: state.groupsChanged + 1 });
  },
  logged_out() {
    change({ account: null, sessionEnded: null, downloads: new Map() });
  },
  session_ended({ event, revision, ...ended }) {
    change({ account: null, sessionEnded: ended });
  },
};

/** Events that are told to the user, with the kind of toast. */
const TOLD = {
  download_complete: "status", download_failed: "alert", download_paused: "alert",
  share_not_offered: "alert", bad_data_reported: "alert", unreachable: "alert",
  staying_ended: "alert", join_requested: "status", join_rejected: "status", admitted: "status",
  member_joined: "status", removed: "alert", network_trusted: "alert", network_key: "status", clocks_differ: "alert",
};
const OF_GROUPS = ["join_requested", "join_rejected", "admitted", "removed", "member_joined"];

function apply(update) {
  handlers[update.event]?.(update);
  if (OF_GROUPS.includes(update.event)) change({ groupsChanged: state.groupsChanged + 1 });
  const kind = TOLD[update.event];
  if (!kind) return;
  const text = t.events[update.event];
  const sentence = typeof text === "function" ? text(update) : text;
  change({ unread: state.unread + 1 });
  toast(kind, sentence, update);
}
