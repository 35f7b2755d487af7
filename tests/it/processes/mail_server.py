"""A mail server that writes each mail to a file, one JSON object a line, and answers as a script says.

Usage: mail_server.py PORT FILE [PLAN]

PLAN is a file of JSON: the answers to each recipient, in turn, before it is accepted; `["550 no"]` with a last element of
`null` is for ever. It is read again for each mail.
"""

import asyncio
import json
import signal
import sys
from email import message_from_bytes, policy

from aiosmtpd.controller import UnthreadedController


class Keep:
    def __init__(self, file, plan):
        self.file = open(file, "a", encoding="utf-8")
        self.plan = json.load(open(plan, encoding="utf-8")) if plan else {}

    async def handle_RCPT(self, server, session, envelope, address, options):
        answers = self.plan.get(address, [])
        if answers:
            answer = answers[0] if answers[-1] is None else answers.pop(0)
            return answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        mail = message_from_bytes(envelope.content, policy=policy.default)
        kept = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "message_id": mail["Message-ID"],
            "subject": mail["Subject"],
            "auto_submitted": mail["Auto-Submitted"],
            "text": mail.get_content(),
        }
        self.file.write(json.dumps(kept) + "\n")
        self.file.flush()
        return "250 kept"


def main():
    port, file, *plan = sys.argv[1:]
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    keep = Keep(file, plan[0] if plan else None)
    controller = UnthreadedController(keep, hostname="127.0.0.1", port=int(port), loop=loop)
    controller.begin()
    loop.add_signal_handler(signal.SIGTERM, loop.stop)
    print("ready", flush=True)
    loop.run_forever()


main()
