// What the states of an instance mean to who looks at them.
import type { Instance, State } from '$lib/api/types';
import type { Tone } from '$lib/ui/tone';

const TONES: Record<State, Tone> = {
  pending: 'busy',
  building: 'busy',
  starting: 'busy',
  ready: 'good',
  unhealthy: 'bad',
  sleeping: 'quiet',
  stopping: 'busy',
  stopped: 'quiet',
  failed: 'bad',
  deleting: 'busy',
};

export const tone = (state: State): Tone => TONES[state] ?? 'quiet';

/** On its way to another state. */
export const moving = (state: State) => tone(state) === 'busy';

export const runs = (instance: Instance) =>
  ['starting', 'ready', 'unhealthy', 'sleeping'].includes(instance.state);

/** Has something to open in a browser. */
export const opens = (instance: Instance) =>
  runs(instance) && (instance.spec.ports ?? []).some((port) => (port.protocol ?? 'http') === 'http');

export type Action = 'start' | 'stop' | 'restart';

/** What can be asked of it now. */
export function actions(instance: Instance): Action[] {
  if (instance.desired === 'deleted') return [];
  if (instance.desired === 'stopped' || instance.state === 'failed') return ['start'];
  return ['restart', 'stop'];
}
