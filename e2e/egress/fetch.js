// Node's own `fetch`, told of the proxy by the usual variables. Arguments: a URL by https and one by http, and a header's
// value. Prints the answers, as JSON.
import { EnvHttpProxyAgent, fetch } from 'undici'

const [secure, clear, key] = process.argv.slice(2)
const dispatcher = new EnvHttpProxyAgent()
const ask = async (url, options = {}) => {
  const response = await fetch(url, { dispatcher, ...options })
  return { status: response.status, text: await response.text() }
}
console.log(JSON.stringify({
  secure: await ask(secure, { headers: { 'x-api-key': key } }),
  posted: await ask(secure, { method: 'POST', headers: { 'x-api-key': key, 'content-type': 'text/plain' }, body: 'x'.repeat(200000) }),
  clear: await ask(clear),
}))
