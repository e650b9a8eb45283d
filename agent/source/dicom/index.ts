import { z } from 'zod';
import { duration, listenAddress } from '../../base/options.ts';
import { defineSource } from '../define.ts';
import { allowOption, listenerTls } from '../listening.ts';

/** PS3.5 table 6.2-1: up to 16 characters of ASCII, no backslash; blanks around it do not count. */
const aeTitle = () =>
  z
    .string('expected an AE title')
    .regex(
      /^(?! )[\x20-\x5b\x5d-\x7e]{1,16}(?<! )$/,
      'expected an AE title: 1 to 16 characters of ASCII, no backslash',
    );

const query = z.strictObject({
  host: z
    .string('expected a host name or an address')
    .regex(/^[A-Za-z0-9.:-]{1,253}$/, 'expected a host name or an address')
    .describe('Where the PACS answers C-FIND and C-MOVE: name or address.'),
  port: z.int().min(1).max(65_535).describe('Its port; 1 to 65535.'),
  aeTitle: aeTitle().describe("The PACS's AE title."),
});

/** Images that modalities and the PACS send over DICOM, and studies that the PACS is asked for. */
export const dicom = defineSource({
  kind: 'dicom',
  options: z.strictObject({
    aeTitle: aeTitle().describe('Our AE title; the PACS must know it with our address and port to send by C-MOVE.'),
    listen: listenAddress().describe('Where images are received: address:port.'),
    allow: allowOption(),
    callingAeTitles: z
      .array(aeTitle())
      .max(256)
      .default([])
      .describe('AE titles that may send; when empty, whoever calls from an allowed address.'),
    anyCalledAe: z.boolean().default(false).describe('Serves senders that call us by another AE title, too.'),
    maxAssociations: z.int().min(1).max(256).default(16).describe('Associations at the same time; 1 to 256.'),
    maxAssociationsPerAe: z
      .int()
      .min(1)
      .max(256)
      .default(8)
      .describe('Associations of one calling AE title at the same time; 1 to 256.'),
    idleTimeout: duration({ min: '10s', max: '1d' })
      .prefault('5m')
      .describe('Ends an association whose sender keeps us waiting for this long; 10s to 1d.'),
    associationTimeout: duration({ min: '1m', max: '31d' })
      .prefault('12h')
      .describe('Ends an association this long after it began, whatever it does; 1m to 31d.'),
    tls: listenerTls()
      .optional()
      .describe('Encrypts the associations and asks senders for a certificate; without it they are plain TCP.'),
    query: query.optional().describe('The PACS to ask for studies; without it we only receive.'),
    daysBack: z
      .int()
      .min(0)
      .max(3660)
      .default(3)
      .describe('Days before today whose studies are looked at in every poll; 0 to 3660.'),
    stableFor: duration({ max: '7d' })
      .prefault('30m')
      .describe('A study is complete when the PACS lists the same images again after this time; up to 7d.'),
    queryTimeout: duration({ min: '5s', max: '1h' })
      .prefault('1m')
      .describe('How long the PACS may be silent during a query; 5s to 1h.'),
    moveTimeout: duration({ min: '10s', max: '1d' })
      .prefault('15m')
      .describe('How long neither an answer nor an image may come during a C-MOVE; 10s to 1d.'),
    requestTimeout: duration({ min: '1m', max: '7d' })
      .prefault('6h')
      .describe('Longest single query or C-MOVE; 1m to 7d.'),
  }),
  load: async () => {
    const { DicomSource } = await import('./source.ts');
    return (options, host) =>
      new DicomSource(
        {
          ...options,
          associationsMax: options.maxAssociations,
          associationsMaxPerAe: options.maxAssociationsPerAe,
          idleMsMax: options.idleTimeout,
          totalMsMax: options.associationTimeout,
          stableMs: options.stableFor,
          pacs: options.query && {
            host: options.query.host,
            port: options.query.port,
            calledAe: options.query.aeTitle,
            callingAe: options.aeTitle,
            idleMsMax: options.queryTimeout,
            moveIdleMsMax: options.moveTimeout,
            totalMsMax: options.requestTimeout,
          },
        },
        host,
      );
  },
});
