// A new password: typed twice, and once more confirmed if it is short.
import { html, useState } from "../core/html.js";
import { t } from "../core/texts.js";
import { Field } from "./controls.js";

const SHORT = 8;

export function useNewPassword() {
  const [password, setPassword] = useState("");
  const [again, setAgain] = useState("");
  const [problem, setProblem] = useState(null);
  const [warned, setWarned] = useState(null);
  return {
    password, again, problem, setAgain,
    setPassword(text) {
      setPassword(text);
      setProblem(null);
    },
    /** Tells whether the password may be used. A short one is refused once. */
    check() {
      if (password !== again) {
        setProblem(t.account.differs);
        return false;
      }
      if ([...password].length < SHORT && warned !== password) {
        setWarned(password);
        setProblem(t.account.short(SHORT));
        return false;
      }
      setProblem(null);
      return true;
    },
    clear() {
      setPassword("");
      setAgain("");
    },
  };
}

export function NewPassword({ fresh }) {
  return html`
    <${Field} label=${t.account.newPassword} type="password" value=${fresh.password}
      onInput=${fresh.setPassword} autocomplete="new-password" required />
    <${Field} label=${t.account.again} type="password" value=${fresh.again}
      onInput=${fresh.setAgain} autocomplete="new-password" required />
    <div role="alert">${fresh.problem && html`<p class="error">${fresh.problem}</p>`}</div>`;
}
