import { z } from 'zod';
import { isDay } from '../../base/clock.ts';
import { duration, filePath, keyReference, secret, size } from '../../base/options.ts';
import { readSecret } from '../../base/secret.ts';
import { defineSource } from '../define.ts';
import { defaultTypes } from './types.ts';

const loopback: ReadonlySet<string> = new Set(['127.0.0.1', '[::1]', 'localhost']);

const tls = z
  .strictObject({
    ca: filePath().optional().describe("The CA of the server's certificate, PEM; without it the well-known ones."),
    cert: filePath().optional().describe('Our client certificate, PEM, where the server asks for one.'),
    key: filePath().optional().describe('The private key of the client certificate, PEM, mode 0600.'),
    minVersion: z
      .enum(['TLSv1.2', 'TLSv1.3'])
      .default('TLSv1.3')
      .describe('Oldest TLS version spoken; TLSv1.2 only for a server that cannot do better.'),
  })
  .refine(({ cert, key }) => (cert === undefined) === (key === undefined), {
    path: ['key'],
    error: 'expected cert and key, or neither',
  })
  .prefault({});

const proxy = z.strictObject({
  url: z
    .url({ protocol: /^http$/, error: 'expected http://HOST:PORT of the proxy' })
    .refine(hasNoCredentials, 'expected a URL without user and password; use `username` and `password`')
    .describe('An HTTP proxy on the way to the server, http://HOST:PORT; we go through it by CONNECT.'),
  username: z.string().min(1).max(256).optional().describe('Sent to the proxy (Basic), if it asks.'),
  password: secret().optional().describe('Sent with the username; by reference.'),
});

const auth = z
  .discriminatedUnion('kind', [
    z.strictObject({ kind: z.literal('none').describe('Nothing is sent.') }),
    z.strictObject({
      kind: z.literal('basic').describe('User and password (HTTP Basic).'),
      username: z.string().min(1).max(256).describe('The user.'),
      password: secret().describe('The password, by reference.'),
    }),
    z.strictObject({
      kind: z.literal('smart').describe('SMART Backend Services: a signed statement for a short-lived token.'),
      tokenUrl: z.url({ protocol: /^https?$/ }).describe('The token endpoint; https, except on this machine.'),
      clientId: z.string().min(1).max(256).describe('Our client id, as registered with the EHR.'),
      key: keyReference().describe('Our private key, PEM or JWK: EC P-384 or RSA. Its public half is registered.'),
      kid: z
        .string()
        .min(1)
        .max(256)
        .optional()
        .describe('The id the key is registered under; default: that of the JWK.'),
      scope: z.string().min(1).max(1024).default('system/*.rs').describe('The scopes asked for.'),
      alg: z.enum(['ES384', 'RS384']).default('ES384').describe('How the statement is signed.'),
    }),
  ])
  .prefault({ kind: 'none' });

const day = z
  .string('expected a day such as 2020-04-01')
  .refine(isDay, 'expected a day that exists, such as 2020-04-01');

/** Resources that a FHIR R4 server lets us search. */
export const fhir = defineSource({
  kind: 'fhir',
  options: z
    .strictObject({
      url: z
        .url({ protocol: /^https?$/, error: 'expected an https URL' })
        .refine(hasNoCredentials, 'expected a URL without user and password; use `auth`')
        .refine((url) => !/[?#]/.test(url), 'expected a URL without ? and #')
        .describe('Base address of the FHIR R4 server, the one that /metadata is under.'),
      allowPlain: z
        .boolean()
        .default(false)
        .describe(
          'Whether an http:// address of another machine may be read; patients then cross the network in clear.',
        ),
      tls: tls.describe('Whom to trust, and who we are, where the address is https.'),
      proxy: proxy.optional().describe('Needed only where the server is behind one.'),
      auth: auth.describe('How we say who we are.'),
      types: z
        .array(z.string().regex(/^[A-Z][A-Za-z]{1,63}$/, 'expected a resource type such as Observation'))
        .min(1, 'expected at least one type')
        .max(150)
        .default([...defaultTypes])
        .describe('Resource types read, of those the server offers.'),
      since: day.default('2000-01-01').describe('Changes from this day on are read, UTC.'),
      count: z.int().min(1).max(5000).default(500).describe('Resources asked for in one page; 1 to 5000.'),
      overlap: duration({ min: '0s', max: '7d' })
        .prefault('10m')
        .describe('How far each poll goes back behind the last one; 0s to 7d.'),
      lag: duration({ min: '0s', max: '1d' })
        .prefault('122s')
        .describe('How long changes rest before they are read, so that none is still being written; 0s to 1d.'),
      windowMax: duration({ min: '1m', max: '100y' })
        .prefault('1y')
        .describe('Longest stretch of time asked for at once; 1m to 100y.'),
      lookBack: duration({ min: '0s', max: '10y' })
        .prefault('30d')
        .describe('Patient by patient: how far before the last visit records are read again; 0s to 10y.'),
      revisit: duration({ min: '1m', max: '366d' })
        .prefault('24h')
        .describe('Patient by patient: how long until one is visited again; 1m to 366d.'),
      maxPage: size({ min: '64K', max: '256M' }).prefault('32MiB').describe('Largest page read; 64K to 256M.'),
      timeout: duration({ min: '1s', max: '1h' })
        .prefault('2m')
        .describe("From a question to its answer's last byte; 1s to 1h."),
    })
    .refine(({ url, allowPlain }) => allowPlain || isSafe(url), {
      path: ['url'],
      error: 'expected an https URL (or allowPlain: true, and patients in clear on the network)',
    })
    .refine(({ auth }) => auth.kind !== 'smart' || isSafe(auth.tokenUrl), {
      path: ['auth', 'tokenUrl'],
      error: 'expected an https URL',
    }),
  load: async () => {
    const { FhirSource } = await import('./source.ts');
    return ({ url, since, overlap, lag, windowMax, lookBack, revisit, maxPage, timeout, proxy, ...options }, host) =>
      new FhirSource(
        {
          ...options,
          base: new URL(url.endsWith('/') ? url : `${url}/`),
          proxy: proxy && proxyOf(proxy),
          since: Date.parse(since),
          overlapMs: overlap,
          lagMs: lag,
          windowMsMax: windowMax,
          lookBackMs: lookBack,
          revisitMs: revisit,
          pageBytesMax: maxPage,
          timeoutMs: timeout,
        },
        host,
      );
  },
});

function proxyOf({ url, username, password }: z.output<typeof proxy>) {
  return {
    url,
    ...(username !== undefined && { username }),
    ...(password && { password: readSecret(password, process.env) }),
  };
}

function isSafe(url: string): boolean {
  if (!URL.canParse(url)) return true;
  const { protocol, hostname } = new URL(url);
  return protocol === 'https:' || loopback.has(hostname);
}

function hasNoCredentials(url: string): boolean {
  if (!URL.canParse(url)) return true;
  const { username, password } = new URL(url);
  return username === '' && password === '';
}
