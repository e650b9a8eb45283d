import { join } from 'node:path';
import { systemClock } from '../../agent/base/clock.ts';
import { type LinkOptions, ProducerLink } from '../../agent/ship/link.ts';

/** As the agent's own, with the files that the producer has made for a hospital. What it reports is for an operator. */
export function linkTo(url: string, tlsFolder: string, receiver: LinkOptions['receiver'] = 'kakehashi'): ProducerLink {
  return new ProducerLink({
    name: 'ldi',
    url,
    tls: { ca: join(tlsFolder, 'ca.pem'), cert: join(tlsFolder, 'client.pem'), key: join(tlsFolder, 'client.key') },
    receiver,
    clock: systemClock,
    report: () => undefined,
  });
}
