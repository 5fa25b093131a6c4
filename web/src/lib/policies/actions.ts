// What is decided about, by the names that the policy has for it.

/** Each with what its resource looks like. */
export const ACTIONS: Record<string, string> = {
  'egress.request': 'GET https://api.github.com/user',
  'egress.connect': 'api.github.com:443',
  'web.fetch': 'GET https://example.com/',
  'web.search': 'searxng',
  'credential.use': 'github',
  'model.call': 'ollama/qwen3',
  'tool.invoke': 'mail.send',
  'api.call': 'stripe.list_charges',
  'git.clone': 'github.com/o/r',
  'git.push': 'github.com/o/r',
  'git.pr.create': 'github.com/o/r',
  'image.use': 'docker.io/library/alpine',
};

/** What rules may be about: one action, or all that begin so. */
export const PATTERNS = ['egress.*', 'git.*', 'web.*', '*', ...Object.keys(ACTIONS)];

/** Actions whose resources are hosts; all others have names. */
export const networked = (pattern: string) => /^(\*|egress\..*|web\.\*|web\.fetch)$/.test(pattern);
