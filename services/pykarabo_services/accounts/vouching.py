"""Being believed about users in a site: its list of grants names the key that signs tokens."""

from pykarabo.transport import joined_site
from pykarabo.trust import Issuers


def be_believed(domain: str, issuers: Issuers) -> None:
    """See that all hosts of the domain's site, if it has one, believe this accounts service.

    Raises:
        DeniedError: this host was not invited for that.
        NotConnectedError: the site's service does not answer.
    """
    site, key = joined_site(domain), issuers.accounts_key().public
    if site is not None and key not in site.grants.issuers(now_s=site.now_s()):
        site.vouch_for_users(key)
