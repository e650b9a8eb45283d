import { join } from 'node:path';
import { systemClock } from '../../agent/base/clock.ts';
import { ProducerLink } from '../../agent/ship/link.ts';

/** As the agent's own, with the files that the producer has made for a hospital. What it reports is for an operator. */
export function linkTo(url: string, tlsFolder: string): ProducerLink {
  return new ProducerLink({
    name: 'ldi',
    url,
    tls: { ca: join(tlsFolder, 'ca.pem'), cert: join(tlsFolder, 'client.pem'), key: join(tlsFolder, 'client.key') },
    receiver: 'kakehashi',
    clock: systemClock,
    report: () => undefined,
  });
}
