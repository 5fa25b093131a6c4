// Where a project stands with its money, in words.
import type { Balance, Suspension } from '$lib/api/types';
import { moment, sats } from '$lib/format';

/** Why nothing runs, and what helps; undefined when nothing is wrong. */
export function suspended(balance: Balance): string | undefined {
  switch (balance.suspended_for) {
    case 'balance':
      return `This project is suspended: it owes ${sats(-balance.balance)}. Its agents are stopped, and their data is kept. Once the balance is zero or more, they run again by themselves.`;
    case 'cap': {
      const until = balance.suspended_until
        ? `, or at ${moment(balance.suspended_until)}, when the cap’s period turns`
        : '';
      return `This project is suspended: it reached a cap. Its agents are stopped, and their data is kept. They run again when the cap is raised or taken away${until}.`;
    }
    default:
      return undefined;
  }
}

/** What is about to happen to a project that owes something. */
export const owing = (balance: Balance): string | undefined =>
  balance.billing && balance.balance < 0 && !balance.suspended_for
    ? `This project owes ${sats(-balance.balance)}. If that stays so, its agents are stopped, and run again once it is paid.`
    : undefined;

/** The same, of one agent. */
export const SUSPENDED: Record<Suspension, string> = {
  balance: 'It is suspended: its project owes money. Its data is kept, and it runs again once that is paid.',
  cap: 'It is suspended: a cap is reached. Its data is kept, and it runs again when the cap is raised or its period turns.',
};
