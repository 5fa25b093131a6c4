// What a wallet's owner runs to pay for a project. The server answers the first request with 402 and what to pay; the
// clients here ask again by themselves, with the payment.

export interface Wish {
  /** Where the server is, as the page was reached. */
  origin: string;
  /** The project's id. */
  project: string;
  network: string;
  satoshis: number;
}

/** Ids as MandalaNode's clients write them. */
const plain = (id: string) => id.replaceAll('-', '');

/** For the command `cars`: the file that it reads in its folder. */
export const carsFile = ({ origin, project, network }: Wish) =>
  JSON.stringify(
    {
      schema: 'bsv-app',
      schemaVersion: '1.0',
      configs: [
        {
          name: 'ryokan',
          provider: 'CARS',
          CARSCloudURL: origin,
          projectID: plain(project),
          network,
          deploy: [],
        },
      ],
    },
    null,
    2,
  );

export const carsCommand = ({ satoshis }: Wish) =>
  `npx --package @bsv/cars-cli cars project topup ryokan --amount ${satoshis}`;

/** For programs: with the wallet of whoever sits before the machine. */
export const program = ({ origin, project, satoshis }: Wish) =>
  `import { AuthFetch, WalletClient } from '@bsv/sdk';

const server = new AuthFetch(new WalletClient());
const answer = await server.fetch('${origin}/api/v1/project/${plain(project)}/pay', {
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify({ amount: ${satoshis} }),
});
console.log(answer.status, await answer.json());`;
