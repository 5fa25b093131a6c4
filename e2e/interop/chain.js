// A chain for tests: a service of headers and ARC over HTTP, and money that only they know. What a real ARC would answer to
// a transaction is told beforehand.
import { createServer } from 'node:http';

export class Chain {
  static async start() {
    const chain = new Chain();
    chain.roots = new Map();
    chain.taken = [];
    chain.answer = { status: 200, txStatus: 'SEEN_ON_NETWORK' };
    chain.height = 800_000;
    chain.server = createServer((request, response) => chain.serve(request, response));
    await new Promise((resolve) => chain.server.listen(0, '127.0.0.1', resolve));
    chain.url = `http://127.0.0.1:${chain.server.address().port}`;
    return chain;
  }

  stop() {
    this.server.close();
    this.server.closeAllConnections();
  }

  async serve(request, response) {
    let body = '';
    for await (const piece of request) body += piece;
    const answer = (status, value) => {
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
    };
    const header = /^\/headers\/block\/(\d+)\/header$/.exec(request.url);
    if (header) {
      const root = this.roots.get(Number(header[1]));
      return root ? answer(200, { merkleroot: root }) : answer(404, {});
    }
    if (request.method === 'POST' && request.url === '/arc/v1/tx') {
      const { status, ...rest } = this.answer;
      if (status === 200) this.taken.push(JSON.parse(body).rawTx);
      return answer(status, { detail: 'told beforehand', ...rest });
    }
    return answer(404, {});
  }

  // A wallet's money: a mined output of `satoshis` that `key` may spend.
  mint(sdk, key, satoshis) {
    const source = new sdk.Transaction();
    source.addInput({
      sourceTXID: sdk.Utils.toHex([...crypto.getRandomValues(new Uint8Array(32))]),
      sourceOutputIndex: 0,
      unlockingScript: sdk.Script.fromASM('OP_TRUE'),
      sequence: 0xffffffff,
    });
    source.addOutput({ satoshis, lockingScript: new sdk.P2PKH().lock(key.toPublicKey().toHash()) });
    const txid = source.id('hex');
    this.height += 1;
    // The second leaf is nobody's: the first of a block is its coinbase.
    const other = sdk.Utils.toHex([...crypto.getRandomValues(new Uint8Array(32))]);
    const path = [[{ offset: 0, hash: other }, { offset: 1, hash: txid, txid: true }]];
    source.merklePath = new sdk.MerklePath(this.height, path);
    this.roots.set(this.height, source.merklePath.computeRoot(txid));
    return source;
  }

  // What wallets call `createAction`: pays the outputs from new money. `cheat` may alter them.
  payer(sdk, wallet, cheat = (outputs) => outputs) {
    wallet.createAction = async ({ outputs }) => {
      const wanted = cheat(outputs);
      const total = wanted.reduce((sum, output) => sum + output.satoshis, 0);
      const source = this.mint(sdk, wallet.key, total + 10);
      const transaction = new sdk.Transaction();
      transaction.addInput({
        sourceTransaction: source,
        sourceOutputIndex: 0,
        unlockingScriptTemplate: new sdk.P2PKH().unlock(wallet.key),
        sequence: 0xffffffff,
      });
      for (const { satoshis, lockingScript } of wanted) {
        transaction.addOutput({ satoshis, lockingScript: sdk.LockingScript.fromHex(lockingScript) });
      }
      await transaction.sign();
      return { txid: transaction.id('hex'), tx: transaction.toAtomicBEEF() };
    };
    return wallet;
  }
}
