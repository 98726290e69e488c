// Every screen of the operator's page at three widths, light and dark.
import { button, buttonOf, dialog, go } from "../browser.mjs";
import { assertLooksRight } from "../screens.mjs";

const heading = (page, name) => page.getByRole("heading", { level: 1, name }).waitFor();

async function openUser(page) {
  await go(page, "users");
  await buttonOf(page, "Manage", "nik").click();
  await dialog(page).getByRole("button", { name: "Delete account" }).waitFor();
}

/** Opens each screen. */
const SCREENS = {
  operator_overview: async (page) => {
    await go(page, "overview");
    await page.getByText("Rows of the network").waitFor();
  },
  operator_users: async (page) => { await go(page, "users"); await page.getByRole("table").waitFor(); },
  operator_sessions: async (page) => {
    await go(page, "users", "sessions");
    await page.getByRole("table").waitFor();
  },
  operator_groups: async (page) => { await go(page, "groups"); await heading(page, "Groups"); },
  operator_audit: async (page) => { await go(page, "audit"); await page.getByRole("table").waitFor(); },
  operator_trackers: async (page) => {
    await go(page, "trackers");
    await button(page, "Remove tracker 2").waitFor();
  },
  operator_key: async (page) => {
    await go(page, "trackers", "key");
    await page.getByText("Put the new key into its place").waitFor();
  },
  operator_settings: async (page) => {
    await go(page, "settings");
    await page.getByText("Members of a group").waitFor();
  },
  operator_dialog_user: openUser,
  operator_dialog_delete: async (page) => {
    await openUser(page);
    await dialog(page).getByRole("button", { name: "Delete account" }).click();
    await dialog(page).getByRole("textbox").waitFor();
  },
};

async function every_operators_screen_is_accessible_at_every_width(stage) {
  await assertLooksRight(stage.operatorPage, SCREENS, stage.screenshots);
}

export const scenarios = [every_operators_screen_is_accessible_at_every_width];
