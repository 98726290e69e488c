// The groups of the account. They are read again after every event about groups.
import { allPages } from "./actions.js";
import { change, state } from "./store.js";

/** How long to wait before reading again what could not be read, as while a tracker dies. */
const AGAIN_AFTER = 3000;

let turn = 0;

export async function readGroups() {
  const mine = ++turn;
  try {
    const groups = await allPages("list_my_groups");
    if (mine === turn) change({ groups, groupsError: null });
  } catch (error) {
    if (mine !== turn) return;
    change({ groupsError: error.message });
    setTimeout(() => mine === turn && state.account && readGroups(), AGAIN_AFTER);
  }
}
