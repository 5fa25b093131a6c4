import { expect, test } from 'vitest';
import { carsCommand, carsFile, program, type Wish } from './payment';

const wish: Wish = {
  origin: 'https://agents.example.com',
  project: '01990000-1111-7222-8333-444455556666',
  network: 'testnet',
  satoshis: 50_000,
};

test('the file of cars names the server and the project, as cars reads them', () => {
  const { configs } = JSON.parse(carsFile(wish));
  expect(configs[0]).toMatchObject({
    provider: 'CARS',
    CARSCloudURL: 'https://agents.example.com',
    projectID: '01990000111172228333444455556666',
    network: 'testnet',
  });
  expect(carsCommand(wish)).toBe(
    `npx --package @bsv/cars-cli cars project topup ${configs[0].name} --amount 50000`,
  );
});

test('the program pays the amount for the project', () => {
  const text = program(wish);
  expect(text).toContain("'https://agents.example.com/api/v1/project/01990000111172228333444455556666/pay'");
  expect(text).toContain('JSON.stringify({ amount: 50000 })');
});
