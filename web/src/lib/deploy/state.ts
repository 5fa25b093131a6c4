// What the states of deployments and revisions mean to who looks at them.
import type { Deployment, DeploymentState, RevisionState } from '$lib/api/types';
import type { Tone } from '$lib/ui/tone';

const DEPLOYMENTS: Record<DeploymentState, Tone> = {
  waiting: 'busy',
  queued: 'busy',
  building: 'busy',
  releasing: 'busy',
  succeeded: 'good',
  failed: 'bad',
  cancelled: 'quiet',
};

const REVISIONS: Record<RevisionState, Tone> = {
  rolling: 'busy',
  live: 'good',
  superseded: 'quiet',
  failed: 'bad',
};

export const tone = (state: DeploymentState): Tone => DEPLOYMENTS[state] ?? 'quiet';
export const revisionTone = (state: RevisionState): Tone => REVISIONS[state] ?? 'quiet';

export const over = ({ state }: Deployment) => ['succeeded', 'failed', 'cancelled'].includes(state);

/** What it waits for, in words. */
export const WAITS: Partial<Record<DeploymentState, string>> = {
  waiting: 'The artifact is not here yet.',
  queued: 'It waits for its turn.',
  building: 'The image is being built.',
  releasing: 'The new version is started. What ran before is started again if it does not become ready.',
};
