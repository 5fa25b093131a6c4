/** What a state means to who looks at it; each has its colours in `base.css`. */
export type Tone = 'good' | 'busy' | 'bad' | 'quiet';
