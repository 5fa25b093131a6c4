// What the states of a custom domain mean to who waits for it, and when something may have become of it.
import type { Domain, DomainState } from '$lib/api/types';
import type { Tone } from '$lib/ui/tone';

/** The gateway takes up within moments what was verified, and no event tells. */
const TAKEN_UP = 1000;
/** How long a check may take after it was due. */
const CHECK = 2000;
const LATEST = 60_000;

export function tone({ state, reason }: Domain): Tone {
  const tones: Record<DomainState, Tone> = {
    pending: 'busy',
    verified: 'busy',
    // It is served, and will not be for long.
    active: reason ? 'busy' : 'good',
    failed: 'bad',
  };
  return tones[state] ?? 'quiet';
}

/** What is happening, and what may be done about it. */
export const MEANS: Record<DomainState, string> = {
  pending: 'Its record has not been seen yet. It is looked for by itself for seven days.',
  verified: 'It is yours. The gateway takes it up now.',
  active: 'It is served.',
  failed: 'It is not served, and not looked for any more unless you ask.',
};

/** Whether its records are to be set now, and not only to be kept. */
export const wanting = ({ state, reason }: Domain) =>
  state === 'pending' || state === 'failed' || Boolean(reason);

/** In how many milliseconds to look at them again, if no event says so before: once something is due. */
export function again(domains: Domain[], now: number): number {
  const due = ({ state, next_check }: Domain) => {
    if (state === 'verified') return TAKEN_UP;
    return next_check == null ? LATEST : Math.max(next_check - now, 0) + CHECK;
  };
  return Math.min(LATEST, ...domains.map(due));
}
