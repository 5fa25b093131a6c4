// A wallet of the genuine SDK with certificates in memory, and the protocol by hand for what AuthFetch would never do.

export const random = () => crypto.getRandomValues(new Uint8Array(32));

export const wallets = (sdk) => {
  class Wallet extends sdk.ProtoWallet {
    constructor(key) {
      super(key);
      this.key = key;
      this.identity = key.toPublicKey().toString();
      this.certificates = [];
    }

    async listCertificates({ certifiers, types }) {
      const held = this.certificates.filter((c) => certifiers.includes(c.certifier) && types.includes(c.type));
      return { totalCertificates: held.length, certificates: held };
    }

    async proveCertificate({ certificate, fieldsToReveal, verifier }) {
      const { fields, masterKeyring, serialNumber, certifier } = this.certificates.find(
        (c) => c.serialNumber === certificate.serialNumber,
      );
      const keyringForVerifier = await sdk.MasterCertificate.createKeyringForVerifier(
        this, certifier, verifier, fields, fieldsToReveal, masterKeyring, serialNumber);
      return { keyringForVerifier };
    }
  }

  // A session by hand, and requests in it.
  class Raw {
    constructor(url, wallet) {
      this.url = url;
      this.wallet = wallet;
      this.fetcher = new sdk.AuthFetch(wallet);
    }

    async hello() {
      this.nonce = await sdk.createNonce(this.wallet);
      const message = {
        version: '0.1', messageType: 'initialRequest', identityKey: this.wallet.identity, initialNonce: this.nonce,
        requestedCertificates: { certifiers: [], types: {} },
      };
      const answer = await fetch(`${this.url}/.well-known/auth`, {
        method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(message),
      });
      if (answer.ok) this.session = await answer.json();
      return answer;
    }

    // What fetch takes, signed.
    async request(method, path, body) {
      const id = [...random()];
      const headers = body === undefined ? {} : { 'content-type': 'application/json' };
      const url = new URL(this.url + path);
      const data = (await this.fetcher.serializeRequest(method, headers, body, url, id)).toArray();
      const nonce = sdk.Utils.toBase64([...random()]);
      const { signature } = await this.wallet.createSignature({
        data, protocolID: [2, 'auth message signature'], keyID: `${nonce} ${this.session.initialNonce}`,
        counterparty: this.session.identityKey,
      });
      return {
        method,
        body,
        headers: {
          ...headers,
          'x-bsv-auth-version': '0.1',
          'x-bsv-auth-identity-key': this.wallet.identity,
          'x-bsv-auth-nonce': nonce,
          'x-bsv-auth-your-nonce': this.session.initialNonce,
          'x-bsv-auth-signature': sdk.Utils.toHex(signature),
          'x-bsv-auth-request-id': sdk.Utils.toBase64(id),
        },
      };
    }

    async send(path, init) {
      const answer = await fetch(this.url + path, init);
      return { status: answer.status, headers: answer.headers, text: await answer.text() };
    }

    // Whether an answer is signed by the server for this client and request.
    async isSigned({ status, headers, text }) {
      if (!headers.has('x-bsv-auth-signature')) return false;
      const signed = [...headers].filter(([name]) => name.startsWith('x-bsv-') && !name.startsWith('x-bsv-auth')).sort();
      const writer = new sdk.Utils.Writer();
      writer.write(sdk.Utils.toArray(headers.get('x-bsv-auth-request-id'), 'base64'));
      writer.writeVarIntNum(status);
      writer.writeVarIntNum(signed.length);
      for (const part of signed.flat()) {
        const bytes = sdk.Utils.toArray(part, 'utf8');
        writer.writeVarIntNum(bytes.length);
        writer.write(bytes);
      }
      const body = sdk.Utils.toArray(text, 'utf8');
      writer.writeVarIntNum(body.length);
      writer.write(body);
      const { valid } = await this.wallet.verifySignature({
        data: writer.toArray(), signature: sdk.Utils.toArray(headers.get('x-bsv-auth-signature'), 'hex'),
        protocolID: [2, 'auth message signature'], keyID: `${headers.get('x-bsv-auth-nonce')} ${this.nonce}`,
        counterparty: headers.get('x-bsv-auth-identity-key'),
      });
      return valid;
    }
  }

  return { Wallet, Raw, wallet: (key = sdk.PrivateKey.fromRandom()) => new Wallet(key) };
};
