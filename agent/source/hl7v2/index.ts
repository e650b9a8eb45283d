import { isIP } from 'node:net';
import { z } from 'zod';
import { duration, filePath, listenAddress, size } from '../../base/options.ts';
import { defineSource } from '../define.ts';
import { charsets } from '../../base/hl7/charset.ts';
import { Hl7v2Source } from './listener.ts';

/** Loopback, and what is private to a hospital's own network: RFC 1918, RFC 4193, link-local. */
const privateNetworks = [
  '127.0.0.0/8',
  '10.0.0.0/8',
  '172.16.0.0/12',
  '192.168.0.0/16',
  '::1',
  'fc00::/7',
  'fe80::/10',
];

const tls = z
  .strictObject({
    cert: filePath().describe("The listener's certificate, PEM, with its chain."),
    key: filePath().describe('The private key of the certificate, PEM, mode 0600.'),
    ca: filePath().optional().describe("The CA that issues the senders' client certificates, PEM."),
    requireClientCert: z
      .boolean()
      .default(true)
      .describe('Whether a sender without a valid client certificate is turned away.'),
    minVersion: z
      .enum(['TLSv1.2', 'TLSv1.3'])
      .default('TLSv1.3')
      .describe('Oldest TLS version accepted; TLSv1.2 only for a sender that cannot do better.'),
  })
  .refine(({ ca, requireClientCert }) => ca !== undefined || !requireClientCert, {
    path: ['ca'],
    error: 'expected the CA of the client certificates, or requireClientCert: false',
  });

/** HL7 v2 messages that other systems send over MLLP. */
export const hl7v2 = defineSource({
  kind: 'hl7v2',
  options: z.strictObject({
    listen: listenAddress().describe('Where senders connect: address:port.'),
    allow: z
      .array(z.string().refine(isNetwork, 'expected an address such as 10.1.2.3 or a network such as 10.1.0.0/16'))
      .min(1, 'expected at least one address or network')
      .max(256)
      .default(privateNetworks)
      .describe('Addresses and networks senders may connect from; private networks and this machine when not given.'),
    encoding: z
      .enum(['auto', ...charsets])
      .default('auto')
      .describe(
        'Encoding of the messages; `auto` goes by MSH-18 and the bytes. Only for reading: payloads stay as sent.',
      ),
    maxConnections: z.int().min(1).max(1024).default(16).describe('Connections at the same time; 1 to 1024.'),
    maxMessage: size({ min: '64K', max: '1G' })
      .prefault('64MiB')
      .describe('Largest message, or batch in one frame; 64K to 1G.'),
    frameTimeout: duration({ min: '1s', max: '1h' })
      .prefault('60s')
      .describe("From a message's first byte to its last, before the connection is closed; 1s to 1h."),
    idleTimeout: duration({ min: '10s', max: '31d' })
      .optional()
      .describe('Closes a connection that sends nothing for this long, 10s to 31d; without it none is.'),
    tls: tls
      .optional()
      .describe('Encrypts the connections and asks senders for a certificate; without it they are plain TCP.'),
  }),
  create: ({ maxConnections, maxMessage, frameTimeout, idleTimeout, ...options }, host) =>
    new Hl7v2Source(
      {
        ...options,
        connectionsMax: maxConnections,
        frameBytesMax: maxMessage,
        frameMsMax: frameTimeout,
        idleMsMax: idleTimeout,
      },
      host,
    ),
});

function isNetwork(text: string): boolean {
  const match = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(text);
  const version = isIP(match?.[1] ?? '');
  const bits = version === 6 ? 128 : 32;
  return version !== 0 && (match?.[2] === undefined || Number(match[2]) <= bits);
}
