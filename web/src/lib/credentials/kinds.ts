// The kinds of credentials: what each asks for besides its value, and how one is told in words.
import type { CredentialKind } from '$lib/api/types';

export type KindName = CredentialKind['type'];

interface Asked {
  name: string;
  label: string;
  required?: boolean;
  placeholder?: string;
}

export const KINDS: Record<KindName, { name: string; value: string; asks: Asked[] }> = {
  bearer: { name: 'Bearer token', value: 'Token', asks: [] },
  basic: {
    name: 'User name and password (Git, too)',
    value: 'Password',
    asks: [{ name: 'username', label: 'User name', required: true, placeholder: 'x-access-token' }],
  },
  header: {
    name: 'A header',
    value: 'Value',
    asks: [
      { name: 'name', label: 'Header', required: true, placeholder: 'x-api-key' },
      { name: 'prefix', label: 'Before the value', placeholder: 'Token ' },
    ],
  },
  query: {
    name: 'A parameter of the query',
    value: 'Value',
    asks: [{ name: 'name', label: 'Parameter', required: true, placeholder: 'key' }],
  },
  placeholder: { name: 'Wherever its placeholder stands', value: 'Value', asks: [] },
  oauth_client: {
    name: 'OAuth client',
    value: 'Client secret',
    asks: [
      {
        name: 'token_url',
        label: 'Token address',
        required: true,
        placeholder: 'https://auth.example.com/token',
      },
      { name: 'client_id', label: 'Client id', required: true },
      { name: 'scope', label: 'Scope' },
    ],
  },
  aws_sigv4: {
    name: 'AWS signature',
    value: 'Secret access key',
    asks: [{ name: 'access_key_id', label: 'Access key id', required: true }],
  },
};

/** The kind as the API wants it: what was left empty is left out. A prefix keeps the space at its end. */
export function built(type: KindName, given: Record<string, string>, body = false): CredentialKind {
  const kind: Record<string, unknown> = { type };
  for (const { name } of KINDS[type].asks) {
    const text = name === 'prefix' ? (given[name] ?? '') : (given[name] ?? '').trim();
    if (text) kind[name] = text;
  }
  if (type === 'placeholder' && body) kind.body = true;
  return kind as CredentialKind;
}

/** How it is put into a request. */
export function said(kind: CredentialKind): string {
  switch (kind.type) {
    case 'bearer':
      return 'bearer token';
    case 'basic':
      return `basic, as ${kind.username}`;
    case 'header':
      return `header ${kind.name}`;
    case 'query':
      return `query parameter ${kind.name}`;
    case 'placeholder':
      return kind.body ? 'its placeholder, in bodies too' : 'its placeholder';
    case 'oauth_client':
      return `OAuth client ${kind.client_id}`;
    case 'aws_sigv4':
      return `AWS key ${kind.access_key_id}`;
  }
}
