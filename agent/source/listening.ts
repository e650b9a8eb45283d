import { isIP } from 'node:net';
import { z } from 'zod';
import { filePath } from '../base/options.ts';

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

/** `allow` of a kind of source that listens. */
export const allowOption = () =>
  z
    .array(z.string().refine(isNetwork, 'expected an address such as 10.1.2.3 or a network such as 10.1.0.0/16'))
    .min(1, 'expected at least one address or network')
    .max(256)
    .default(privateNetworks)
    .describe('Addresses and networks senders may connect from; private networks and this machine when not given.');

/** `tls` of a kind of source that listens. */
export const listenerTls = () =>
  z
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

function isNetwork(text: string): boolean {
  const match = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(text);
  const version = isIP(match?.[1] ?? '');
  const bits = version === 6 ? 128 : 32;
  return version !== 0 && (match?.[2] === undefined || Number(match[2]) <= bits);
}
