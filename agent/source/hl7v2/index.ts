import { z } from 'zod';
import { duration, listenAddress, size } from '../../base/options.ts';
import { defineSource } from '../define.ts';
import { allowOption, listenerTls } from '../listening.ts';
import { charsets } from '../../base/hl7/charset.ts';

/** HL7 v2 messages that other systems send over MLLP. */
export const hl7v2 = defineSource({
  kind: 'hl7v2',
  options: z.strictObject({
    listen: listenAddress().describe('Where senders connect: address:port.'),
    allow: allowOption(),
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
    tls: listenerTls()
      .optional()
      .describe('Encrypts the connections and asks senders for a certificate; without it they are plain TCP.'),
  }),
  load: async () => {
    const { Hl7v2Source } = await import('./listener.ts');
    return ({ maxConnections, maxMessage, frameTimeout, idleTimeout, ...options }, host) =>
      new Hl7v2Source(
        {
          ...options,
          connectionsMax: maxConnections,
          frameBytesMax: maxMessage,
          frameMsMax: frameTimeout,
          idleMsMax: idleTimeout,
        },
        host,
      );
  },
});
