import { expect, test } from 'vitest';
import type { Template } from '$lib/api/types';
import { empty, environment, Malformed, place, ports, request, variables } from './form';

const template = {
  name: 'claw',
  variables: {
    MODEL: { default: 'small' },
    API_KEY: { required: true, secret: true },
    TOKEN: { secret: true, generate: true },
  },
} as unknown as Template;

test('what is needed comes first, and defaults are filled in', () => {
  expect(variables(template).map(([name]) => name)).toEqual(['API_KEY', 'MODEL', 'TOKEN']);
  expect(empty(template).variables).toEqual({ API_KEY: '', MODEL: 'small', TOKEN: '' });
});

test('what is empty is left out, and secrets go where secrets go', () => {
  const fields = { ...empty(template), name: ' mine ', memory: '1Gi', env: 'LOG=a=b\n\n' };
  fields.variables.API_KEY = 'k';
  expect(JSON.parse(JSON.stringify(request(template, fields)))).toEqual({
    template: 'claw',
    name: 'mine',
    memory: '1Gi',
    env: { LOG: 'a=b', MODEL: 'small' },
    secret_env: { API_KEY: 'k' },
  });
});

test('ports', () => {
  expect(ports('3000, ssh:22/tcp 8080')).toEqual([
    { name: 'http', port: 3000, protocol: 'http' },
    { name: 'ssh', port: 22, protocol: 'tcp' },
    { name: 'port-8080', port: 8080, protocol: 'http' },
  ]);
  for (const bad of ['0', '70000', 'x', 'a:b', '80/udp']) expect(() => ports(bad)).toThrow(Malformed);
  expect(() => environment('nothing')).toThrow(Malformed);
});

test('a refused field is found in the form', () => {
  const places = [
    'secret_env.API_KEY',
    'env.MODEL',
    'env.OTHER',
    'memory',
    'ports[0].port',
    'volumes',
    '',
    null,
  ];
  expect(places.map((field) => place(template, field))).toEqual([
    'API_KEY',
    'MODEL',
    'env',
    'memory',
    'ports',
    undefined,
    undefined,
    undefined,
  ]);
});
