// The groups of the account. They are read again after every event about groups.
import { allPages } from "./actions.js";
import { change } from "./store.js";

let turn = 0;

export async function readGroups() {
  const mine = ++turn;
  try {
    const groups = await allPages("list_my_groups");
    if (mine === turn) change({ groups, groupsError: null });
  } catch (error) {
    if (mine === turn) change({ groupsError: error.message });
  }
}
