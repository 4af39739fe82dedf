"""La console en français."""

from __future__ import annotations

from typing import Final

from streams.console.texts import Texts

FRENCH: Final = Texts(
    skip="Aller au contenu",
    navigation="Navigation principale",
    nav_predictions="Prédictions",
    language="Langue",
    theme="Apparence",
    themes={"auto": "Comme l’appareil", "light": "Claire", "dark": "Sombre"},
    signed_in_as="Connecté avec la clé « {name} »",
    roles={
        "ingest": "envoi d’événements",
        "read": "consultation",
        "write": "consultation et modification",
        "admin": "tous les droits",
    },
    sign_out="Se déconnecter",
    errors={
        "not-found": ("Cette page n’existe pas", "Vérifiez l’adresse, ou repartez de la liste des prédictions."),
        "forbidden": (
            "Votre clé ne permet pas cette action",
            "Connectez-vous avec une clé autorisant les modifications, ou demandez-en une à l’équipe qui gère Tideline.",
        ),
        "form": (
            "Ce formulaire n’est plus valable",
            "Votre session a changé depuis le chargement de la page. Revenez en arrière, rechargez la page et "
            "recommencez.",
        ),
        "gone": (
            "Cet utilisateur a été supprimé",
            "Plus rien n’est conservé à son sujet. De nouveaux événements créeraient un nouvel utilisateur.",
        ),
        "unavailable": (
            "Rien à afficher pour le moment",
            "Le service démarre, ou sa base ne répond pas. Patientez un instant, puis rechargez la page. Si cela "
            "persiste, prévenez l’équipe qui gère Tideline.",
        ),
        "overloaded": (
            "Le service est très sollicité",
            "D’autres demandes sont en cours. Patientez quelques secondes, puis rechargez la page.",
        ),
        "takes-too-long": (
            "Cette demande prend trop de temps",
            "Il y a trop d’utilisateurs pour les examiner tous à temps. Réduisez la demande, ou faites augmenter "
            "TIDELINE_API_SCAN_S.",
        ),
        "rate-limited": (
            "Trop de demandes",
            "Votre clé a été utilisée trop souvent. Patientez une minute, puis rechargez la page.",
        ),
        "too-large": ("Le formulaire est trop volumineux", "Raccourcissez votre saisie, puis renvoyez-la."),
        "invalid-body": (
            "Le formulaire n’a pas pu être lu",
            "Revenez en arrière, rechargez la page et recommencez.",
        ),
        "already-exists": ("Ce nom est déjà pris", "Choisissez un autre nom, puis renvoyez le formulaire."),
        "read-only": (
            "Cet élément est défini dans le fichier de catalogue",
            "Il ne peut être modifié que là. Adressez-vous à l’équipe qui gère Tideline.",
        ),
        "not-targetable": (
            "Cette prédiction ne permet pas de ciblage",
            "Elle est là pour être consultée. Activez-la d’abord, puis recommencez.",
        ),
        "has-dependents": (
            "D’autres éléments en dépendent",
            "Modifiez ou archivez d’abord ce qui l’utilise, puis recommencez.",
        ),
        "precondition-failed": (
            "Quelqu’un d’autre l’a modifié",
            "L’élément a changé depuis que vous l’avez ouvert. Rechargez la page et refaites votre modification.",
        ),
        "cannot-estimate": (
            "Cette estimation n’est pas possible",
            "Ce que le filtre demande n’est pas conservé pour le passé.",
        ),
        "too-many": (
            "Le nombre maximal est atteint",
            "Archivez un élément qui ne sert plus, puis recommencez.",
        ),
        "invalid-definition": (
            "L’enregistrement n’est pas possible ainsi",
            "Revenez en arrière, vérifiez votre saisie et recommencez.",
        ),
        "invalid-cursor": ("Cette liste a changé", "Ouvrez sa première page et poursuivez à partir de là."),
        "internal": (
            "Une erreur est survenue",
            "Réessayez. Si elle se reproduit, transmettez le numéro ci-dessous à l’équipe qui gère Tideline.",
        ),
    },
    error_back="Retour aux prédictions",
    error_request="Numéro de la demande",
    loading="Chargement",
    not_loaded="Le chargement a échoué. Rechargez la page pour réessayer.",
    sign_in="Se connecter",
    sign_in_lead="Qui va probablement faire quoi, et à quel moment la ligne est franchie.",
    sign_in_key="Clé d’API",
    sign_in_hint="Elle commence par tl_ et vous seul la conservez : elle vous est demandée au plus une fois par mois.",
    sign_in_how="Pas de clé ? L’équipe qui gère Tideline en crée une avec : tideline keys create --role write --name vous",
    sign_in_wrong={
        "unknown": "Cette clé est inconnue ou a été révoquée. Vérifiez que vous l’avez copiée en entier.",
        "weak": "Cette clé ne permet que d’envoyer des événements. Utilisez une clé de rôle read, write ou admin.",
    },
    kinds={"event": "Probabilité d’événement", "churn": "Risque d’attrition"},
    category_titles={"event": "Catégorie de probabilité d’événement", "churn": "Catégorie de risque d’attrition"},
    categories={
        "event.low": "Faible",
        "event.medium": "Moyenne",
        "event.high": "Élevée",
        "churn.low": "Risque faible",
        "churn.medium": "Risque moyen",
        "churn.high": "Risque élevé",
    },
    statuses={
        "live": "Active",
        "warming up": "En préparation",
        "going live": "Mise en service",
        "learning from history": "Apprentissage de l’historique",
        "archived": "Archivée",
    },
    status_help={
        "live": "Les scores évoluent à chaque événement et les franchissements sont envoyés.",
        "warming up": "Elle n’a pas encore observé assez d’objectifs atteints. Rien n’est envoyé d’ici là.",
        "going live": "Chaque utilisateur est évalué une première fois avant l’envoi des franchissements.",
        "learning from history": "Les événements conservés sont rejoués. Rien n’est envoyé pendant ce temps.",
        "archived": "Elle n’est plus calculée.",
    },
    accesses={"live": "Active", "preview": "Aperçu", "demo": "Démonstration"},
    access_help={
        "preview": "Les scores sont visibles, mais le ciblage est impossible : c’est un aperçu sur vos propres données.",
        "demo": "Les scores sont visibles, mais le ciblage est impossible : les données sont fictives.",
    },
    bands={"excellent": "Excellente", "good": "Bonne", "fair": "Moyenne", "poor": "Faible"},
    quality="Qualité",
    quality_unknown="Pas encore évaluée",
    users="{n} utilisateur|{n} utilisateurs",
    predictions="Prédictions",
    predictions_lead="Ce que chaque utilisateur fera probablement, d’après son dernier événement.",
    predictions_none="Aucune prédiction pour l’instant",
    predictions_none_how="Définissez-en une dans le fichier de catalogue, puis redémarrez le service : elle apparaîtra ici "
    "aussitôt.",
    audience="Audience",
    expected_within={
        "event": "devraient le faire sous {window}",
        "churn": "devraient être perdus sous {window}",
    },
    today="Aujourd’hui",
    entered_today="{n} entrée dans « {category} »|{n} entrées dans « {category} »",
    left_today="{n} sortie|{n} sorties",
    today_at_least="au moins",
    today_unknown="Aucun franchissement connu pour l’instant",
    learning_progress="{done} événements lus sur {all}",
    learning_failed="L’historique n’a pas pu être lu. L’apprentissage se fait désormais sur les nouveaux événements.",
    warm_up_progress="{done} utilisateurs ayant atteint l’objectif, sur {all} nécessaires",
    warm_up_expected="Fin prévue le {date}",
    warm_up_no_date="Pas encore de date : personne n’a atteint l’objectif jusqu’ici",
    warm_up_beats="Assez d’objectifs atteints : la prédiction sera active dès qu’elle fera mieux que la règle simple",
)
