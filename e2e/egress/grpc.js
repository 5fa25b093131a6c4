// A genuine gRPC server with TLS, and a client that reaches it through the egress proxy that `grpc_proxy` names.
// Arguments: certificate, key, bundle of trusted authorities (files), host name. Prints what happened, as JSON.
import { readFileSync } from 'node:fs'
import grpc from '@grpc/grpc-js'

const [certificate, key, bundle, host] = process.argv.slice(2)
const identity = { serialize: (value) => Buffer.from(value), deserialize: (bytes) => bytes.toString() }
const method = (path, stream) => ({
  path, requestStream: stream, responseStream: stream,
  requestSerialize: identity.serialize, requestDeserialize: identity.deserialize,
  responseSerialize: identity.serialize, responseDeserialize: identity.deserialize,
})
const service = { once: method('/test.Echo/Once', false), both: method('/test.Echo/Both', true) }

let seen
const server = new grpc.Server()
server.addService(service, {
  once: (call, done) => {
    seen = call.metadata.get('authorization')[0]
    const trailers = new grpc.Metadata()
    trailers.set('x-echo', seen ?? 'none')
    done(null, `${call.request} ${seen}`, trailers)
  },
  both: (call) => {
    call.on('data', (text) => call.write(`${text}!`))
    call.on('end', () => call.end())
  },
})
const credentials = grpc.ServerCredentials.createSsl(null, [{ cert_chain: readFileSync(certificate), private_key: readFileSync(key) }])
const port = await new Promise((resolve, reject) =>
  server.bindAsync('127.0.0.1:0', credentials, (error, port) => (error ? reject(error) : resolve(port))))

const Client = grpc.makeGenericClientConstructor(service, 'Echo')
const client = new Client(`${host}:${port}`, grpc.credentials.createSsl(readFileSync(bundle)))
const result = {}
await new Promise((resolve, reject) => {
  const call = client.once('hello', { deadline: Date.now() + 15000 }, (error, text) => (error ? reject(error) : (result.once = text)))
  call.on('status', (status) => { result.code = status.code; result.trailer = status.metadata.get('x-echo')[0]; resolve() })
})
result.both = await new Promise((resolve, reject) => {
  const got = []
  const call = client.both({ deadline: Date.now() + 15000 })
  call.on('error', reject)
  call.on('data', (text) => {
    got.push(text)
    // One at a time: each answer is there before the next question.
    if (got.length < 3) call.write(`${got.length}`)
    else call.end()
  })
  call.on('end', () => resolve(got.join(' ')))
  call.write('0')
})
result.seen = seen
client.close()
server.forceShutdown()
console.log(JSON.stringify(result))
